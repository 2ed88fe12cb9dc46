package kit;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.xcontent.NamedXContentRegistry;

/** Adds to a node of the integ-test distribution what the kit's services ask of a real one. */
public class StandInPlugin extends Plugin implements ActionPlugin, AnalysisPlugin {
    private volatile ClusterService clusterService;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        clusterService = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices services,
        Supplier<DiscoveryNodes> nodes,
        Predicate<NodeFeature> hasFeature
    ) {
        return List.of(new Root(clusterService), new Lifecycle.Rest());
    }

    @Override
    public Collection<ActionHandler> getActions() {
        return Lifecycle.ACTIONS;
    }

    @Override
    public List<Setting<?>> getSettings() {
        return Lifecycle.SETTINGS;
    }

    @Override
    public List<NamedXContentRegistry.Entry> getNamedXContent() {
        return Lifecycle.PARSERS;
    }

    @Override
    public List<NamedWriteableRegistry.Entry> getNamedWriteables() {
        return Lifecycle.WRITEABLES;
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return SecurityIndexAnalysis.FILTERS;
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return SecurityIndexAnalysis.TOKENIZERS;
    }
}
