package kit;

import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.elasticsearch.index.analysis.AbstractTokenFilterFactory;
import org.elasticsearch.index.analysis.AbstractTokenizerFactory;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;

/**
 * What the index of users and roles has in its settings, for the e-mail addresses in user profiles: without these the
 * index cannot be made. Lucene's own, under Elasticsearch's names.
 */
final class SecurityIndexAnalysis {
    static final Map<String, AnalysisProvider<TokenFilterFactory>> FILTERS = Map.of(
        "pattern_capture",
        (indexSettings, environment, name, settings) -> {
            boolean preserveOriginal = settings.getAsBoolean("preserve_original", true);
            List<String> expressions = settings.getAsList("patterns");
            Pattern[] patterns = expressions.stream().map(Pattern::compile).toArray(Pattern[]::new);
            return filter(name, stream -> new PatternCaptureGroupTokenFilter(stream, preserveOriginal, patterns));
        },
        "unique",
        (indexSettings, environment, name, settings) -> filter(name, RemoveDuplicatesTokenFilter::new)
    );

    static final Map<String, AnalysisProvider<TokenizerFactory>> TOKENIZERS = Map.of(
        "uax_url_email",
        (indexSettings, environment, name, settings) -> new AbstractTokenizerFactory(name) {
            @Override
            public Tokenizer create() {
                return new UAX29URLEmailTokenizer();
            }
        }
    );

    private static TokenFilterFactory filter(String name, Function<TokenStream, TokenStream> wrap) {
        return new AbstractTokenFilterFactory(name) {
            @Override
            public TokenStream create(TokenStream stream) {
                return wrap.apply(stream);
            }
        };
    }

    private SecurityIndexAnalysis() {}
}
