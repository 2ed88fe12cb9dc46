//! List prices: a built-in catalogue of hundreds of models, and the user's own file, which wins over it.
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use serde::Deserialize;

use super::cost::{NanoUsd, Usage};
use crate::tenants::one_line;

/// Above a dollar per token a price is a typing error: a price per token in the place of one per million.
const MAX_PRICE: f64 = 1e6;
/// Days from the start of the calendar, in March of the year 0, to 1970.
const DAYS_TO_EPOCH: u64 = 719_468;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// List price of a model, in USD per million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    input: f64,
    output: f64,
    /// Of input tokens read from the provider's cache; absent: as other input.
    cache_read: Option<f64>,
    /// Of input tokens written to the provider's cache; absent: as other input.
    cache_write: Option<f64>,
    /// Prices of calls with a long input, the shortest first.
    #[serde(default)]
    above: Vec<LongInput>,
    /// Further names of the model.
    #[serde(default)]
    names: Vec<String>,
}

/// The prices of a call with more input tokens than these. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongInput {
    tokens: u64,
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
}

impl Price {
    /// The cost of a call with this usage, rounded to the billionth.
    pub fn cost(&self, usage: Usage) -> NanoUsd {
        let (mut input, mut output) = (self.input, self.output);
        let (mut cache_read, mut cache_write) = (self.cache_read, self.cache_write);
        for long in self.above.iter().filter(|long| usage.input > long.tokens) {
            input = long.input.unwrap_or(input);
            output = long.output.unwrap_or(output);
            cache_read = long.cache_read.or(cache_read);
            cache_write = long.cache_write.or(cache_write);
        }
        let uncached = usage.input.saturating_sub(usage.cache_read + usage.cache_write);
        let parts = [
            (uncached, input),
            (usage.cache_read, cache_read.unwrap_or(input)),
            (usage.cache_write, cache_write.unwrap_or(input)),
            (usage.output, output),
        ];
        // USD per million tokens times 1000 is billionths of a dollar per token.
        let nano: f64 = parts.iter().map(|(tokens, price)| *tokens as f64 * price * 1000.0).sum();
        NanoUsd(nano.round() as u64)
    }

    /// All prices, to be checked.
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let long =
            self.above.iter().flat_map(|long| [long.input, long.output, long.cache_read, long.cache_write]);
        [Some(self.input), Some(self.output), self.cache_read, self.cache_write]
            .into_iter()
            .chain(long)
            .flatten()
    }
}

/// Prices by name in lower case.
type Models = HashMap<String, Arc<Price>>;

fn by_name(models: BTreeMap<String, Price>) -> Models {
    let mut by_name = Models::with_capacity(2 * models.len());
    for (id, price) in models {
        let price = Arc::new(price);
        for name in &price.names {
            by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| price.clone());
        }
        // The name of one model is never a further name of another.
        by_name.insert(id.to_ascii_lowercase(), price);
    }
    by_name
}

/// The built-in catalogue.
#[derive(Debug)]
struct Catalogue {
    as_of: String,
    providers: Vec<(String, Models)>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        as_of: String,
        provider: Vec<Provider>,
    }
    #[derive(Deserialize)]
    struct Provider {
        id: String,
        models: BTreeMap<String, Price>,
    }
    let file: File =
        toml::from_str(include_str!("../../config/catalogue.toml")).expect("written by `make prices`");
    let providers = file.provider.into_iter().map(|provider| (provider.id, by_name(provider.models)));
    Catalogue { as_of: file.as_of, providers: providers.collect() }
});

/// The price file of the user, over the built-in catalogue.
#[derive(Debug)]
pub struct Prices {
    /// The day of the user's prices.
    pub as_of: String,
    own: Models,
    /// The provider whose prices count before those of others.
    provider: String,
}

impl Prices {
    /// Reads the TOML text of a price file. The error is one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            as_of: String,
            models: BTreeMap<String, Price>,
        }
        let file: File =
            toml::from_str(text).map_err(|e| unquoted(text).unwrap_or_else(|| one_line(&e, text)))?;
        if unix_time(&file.as_of).is_none() {
            return Err(format!("as_of {:?}: write the day of the prices as YYYY-MM-DD", file.as_of));
        }
        for (model, price) in &file.models {
            if let Some(bad) = price.numbers().find(|price| !(0.0..=MAX_PRICE).contains(price)) {
                return Err(format!("model {model:?}: {bad} is no price in USD per million tokens"));
            }
        }
        Ok(Self { as_of: file.as_of, own: by_name(file.models), provider: String::new() })
    }

    /// The same prices for an agent that asks this provider.
    #[must_use]
    pub fn of_provider(mut self, provider: &str) -> Self {
        self.provider = provider.to_ascii_lowercase();
        self
    }

    /// The price of a model by any of its names, if there is one: dated, or with its provider before it.
    pub fn get(&self, model: &str) -> Option<Arc<Price>> {
        let model = model.trim().to_ascii_lowercase();
        let names = names(&model);
        let find = |models: &Models| names.iter().find_map(|name| models.get(*name).cloned());
        let is_in_name = |id: &str| model.split('/').any(|part| part == id);
        let rank = |id: &str| match id {
            id if is_in_name(id) => 0,
            id if id == self.provider => 1,
            _ => 2,
        };
        let mut providers: Vec<_> = CATALOGUE.providers.iter().collect();
        providers.sort_by_key(|(id, _)| rank(id));
        find(&self.own).or_else(|| providers.into_iter().find_map(|(_, models)| find(models)))
    }
}

/// Whether two names stand for editions of one model.
pub fn same_model(name: &str, other: &str) -> bool {
    let [name, other] = [name, other].map(|name| name.trim().to_ascii_lowercase());
    names(&name).last() == names(&other).last()
}

/// The day of the built-in catalogue, in Unix seconds.
pub fn catalogue_timestamp() -> u64 {
    unix_time(&CATALOGUE.as_of).unwrap_or_default()
}

/// The names under which a model may be listed, the most exact first.
fn names(model: &str) -> Vec<&str> {
    // `openrouter/openai/gpt-4o`, `openai/gpt-4o`, `gpt-4o`; and `us.anthropic.claude-…`.
    let slashes = model.match_indices('/').map(|(at, _)| &model[at + 1..]);
    let mut names: Vec<_> = [model].into_iter().chain(slashes).collect();
    let bare = names[names.len() - 1];
    if let Some((_, name)) =
        bare.rsplit_once(['.']).filter(|(_, name)| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    {
        names.push(name);
    }
    let undated: Vec<_> =
        names.iter().map(|name| undated(name)).filter(|name| !names.contains(name)).collect();
    names.extend(undated);
    names
}

/// A name without what says which edition of the model it is: `-v1:0`, `:free`, `-2024-08-06`, `@20240806`, `-0613`, `-latest`.
fn undated(name: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut name = name.split_once(':').map_or(name, |(name, _)| name);
    if let Some((before, version)) = name.rsplit_once("-v")
        && digits(version)
    {
        name = before;
    }
    name = name.strip_suffix("-latest").unwrap_or(name);
    let date = |length: usize, shape: &[usize]| {
        let at = name.len().checked_sub(length)?;
        let (before, date) = (name.get(..at)?, name.get(at..)?);
        let parts: Vec<_> = date.get(1..)?.split('-').collect();
        let fits =
            date.starts_with(['-', '@']) && parts.iter().map(|part| part.len()).eq(shape.iter().copied());
        (fits && parts.into_iter().all(digits)).then_some(before)
    };
    date(11, &[4, 2, 2]).or_else(|| date(9, &[8])).or_else(|| date(5, &[4])).unwrap_or(name)
}

/// A hint for a model's name with dots that is not in quotes, which TOML reads as several keys.
fn unquoted(text: &str) -> Option<String> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let mut path = Vec::new();
    let mut value = table.get("models")?;
    let is_price = |value: &toml::Value| value.get("input").is_some() || value.get("output").is_some();
    let deep = value.as_table()?.iter().find(|(_, model)| model.is_table() && !is_price(model))?;
    path.push(deep.0.as_str());
    value = deep.1;
    while !is_price(value) {
        let (key, inner) = value.as_table()?.iter().next()?;
        path.push(key);
        value = inner;
    }
    let name = path.join(".");
    Some(format!("models.{name}: a name with dots stands in quotes: write [models.{name:?}]"))
}

/// Midnight (UTC) of a day written as YYYY-MM-DD, in Unix seconds.
fn unix_time(day: &str) -> Option<u64> {
    let numbers: Vec<u64> = day.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [year @ 2000..=9999, month @ 1..=12, date @ 1..=31] = numbers[..] else { return None };
    if day.len() != "YYYY-MM-DD".len() {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + date - 1;
    Some((days - DAYS_TO_EPOCH) * SECONDS_PER_DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(models: &str) -> Result<Prices, String> {
        Prices::parse(&format!("as_of = \"2026-01-01\"\n{models}"))
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage { input, output, ..Usage::default() }
    }

    #[test]
    fn a_call_costs_what_the_list_says_to_the_billionth() {
        let prices = Prices::parse(include_str!("../../config/prices.toml")).unwrap();
        let usage = usage(1234, 567);
        assert_eq!(prices.get("sim-small").unwrap().cost(usage), NanoUsd(1234 * 150 + 567 * 600));
        assert_eq!(prices.get("sim-large").unwrap().cost(usage), NanoUsd(1234 * 2500 + 567 * 10_000));
        assert_eq!(prices.get("gpt-99"), None);
    }

    #[test]
    fn cached_tokens_and_long_inputs_have_prices_of_their_own() {
        let models = "[models.m]\ninput = 1\noutput = 10\ncache_read = 0.1\ncache_write = 1.25\n\
            above = [{ tokens = 1000, input = 2, cache_read = 0.2 }, { tokens = 2000, output = 30 }]\n\
            [models.plain]\ninput = 1\noutput = 10";
        let prices = prices(models).unwrap();
        let cost = |model: &str, usage: Usage| prices.get(model).unwrap().cost(usage).0;
        let cached = |input| Usage { input, output: 10, cache_read: 500, cache_write: 100, reasoning: 7 };
        assert_eq!(cost("m", cached(1000)), 400 * 1000 + 500 * 100 + 100 * 1250 + 10 * 10_000);
        assert_eq!(cost("m", cached(1001)), 401 * 2000 + 500 * 200 + 100 * 1250 + 10 * 10_000);
        assert_eq!(cost("m", usage(2001, 10)), 2001 * 2000 + 10 * 30_000);
        assert_eq!(cost("plain", cached(1000)), 1000 * 1000 + 10 * 10_000, "as other input");
    }

    #[test]
    fn a_model_is_found_by_any_of_its_names() {
        let prices =
            prices("[models.Mine]\ninput = 7\noutput = 7\n[models.gpt-4o-mini]\ninput = 9\noutput = 9")
                .unwrap();
        let same = |name: &str, model: &str| {
            let price = prices.get(model).unwrap_or_else(|| panic!("{model}"));
            assert_eq!(prices.get(name), Some(price), "{name}");
        };
        for name in [
            "gpt-4o-2024-08-06",
            "openai/gpt-4o",
            "openrouter/openai/gpt-4o",
            "GPT-4o",
            "gpt-4o-latest",
            "gpt-4o-2099-01-01",
        ] {
            same(name, "gpt-4o");
        }
        same("claude-3-5-haiku-20241022", "claude-3-5-haiku");
        same(
            "us.anthropic.claude-3-5-haiku-20241022-v1:0",
            "bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0",
        );
        same("mine", "Mine");
        // The user's own price wins, for further names too.
        same("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini");
        assert_eq!(prices.get("gpt-4o-mini").unwrap().cost(usage(1, 0)), NanoUsd(9000));
        for unknown in ["", "/", "gpt", "gpt-4o-99", "m-small", "2024-08-06", "ü-2024"] {
            assert_eq!(prices.get(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_price_is_that_of_the_provider_asked() {
        let model = "llama-3.3-70b-versatile";
        let prices = || prices("[models]").unwrap();
        let groq = prices().get(&format!("groq/{model}")).unwrap();
        assert_eq!(prices().of_provider("groq").get(model), Some(groq));
    }

    #[test]
    fn the_catalogue_is_dated_and_has_hundreds_of_models_with_possible_prices() {
        assert!(catalogue_timestamp() > unix_time("2026-11-30").unwrap());
        let models: Vec<_> = CATALOGUE.providers.iter().flat_map(|(_, models)| models).collect();
        assert!(models.len() > 500, "{}", models.len());
        for (name, price) in models {
            assert!(price.numbers().all(|price| (0.0..MAX_PRICE).contains(&price)), "{name}: {price:?}");
            assert!(price.above.is_sorted_by_key(|long| long.tokens), "{name}");
        }
    }

    #[test]
    fn a_price_that_is_none_is_named() {
        for bad in ["-1.0", "nan", "inf", "2e6"] {
            for model in
                [format!("input = {bad}\noutput = 1"), format!("input = 1\noutput = 1\ncache_write = {bad}")]
            {
                let error = prices(&format!("[models.m]\n{model}")).unwrap_err();
                assert!(error.starts_with("model \"m\": "), "{error}");
            }
        }
        for undated in ["", "soon", "2026-13-01", "2026-1-1", "01.11.2026", "2026-11-01 "] {
            let error = Prices::parse(&format!("as_of = {undated:?}\n[models]")).unwrap_err();
            assert!(error.contains(undated) && error.contains("YYYY-MM-DD"), "{error}");
        }
        assert!(Prices::parse("as_of = 1").unwrap_err().starts_with("line 1: "));
    }

    #[test]
    fn a_name_with_dots_that_is_not_in_quotes_is_told_so() {
        for models in
            ["[models.gpt-4.1]\ninput = 1\noutput = 1", "[models.gpt-4.1.mini]\ninput = 1\noutput = 1"]
        {
            let error = prices(models).unwrap_err();
            assert!(error.contains("quotes: write [models.\"gpt-4.1"), "{error}");
        }
        assert!(prices("[models.\"gpt-4.1\"]\ninput = 1\noutput = 1").is_ok());
        assert!(prices("[models.m]\ninput = 1\nprice = 2").unwrap_err().contains("unknown field `price`"));
    }

    #[test]
    fn days_are_seconds_since_the_epoch() {
        for (day, seconds) in
            [("2000-01-01", 946_684_800), ("2024-02-29", 1_709_164_800), ("2026-12-01", 1_796_083_200)]
        {
            assert_eq!(unix_time(day), Some(seconds), "{day}");
        }
    }
}
