//! The models and which of them answers whom.
use std::{str::FromStr, sync::Arc};

use super::prices::{Price, Prices};
use crate::tenants::{Tenant, Tier};

/// A model that can be asked.
#[derive(Clone, Debug)]
pub struct Model {
    /// Position in [`Models::all`].
    pub index: usize,
    /// The name that the provider is asked for, and the value of the `model` label.
    pub name: Arc<str>,
    /// None where neither the price file nor the catalogue has one.
    pub price: Option<Arc<Price>>,
}

/// Models by tier, in place of the default one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierModels([Option<String>; Tier::ALL.len()]);

impl FromStr for TierModels {
    type Err = String;

    /// Reads `vip=gpt-5,free=gpt-5-nano`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut models = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (tier, model) = pair.split_once('=').ok_or_else(|| format!("{pair:?} must be tier=model"))?;
            let (tier, model) = (tier.trim(), model.trim());
            let tier = Tier::ALL
                .into_iter()
                .find(|known| known.name() == tier)
                .ok_or_else(|| format!("there is no tier {tier:?}: use vip, standard or free"))?;
            if model.is_empty() {
                return Err(format!("the tier {} has no model in {pair:?}", tier.name()));
            }
            models.0[tier as usize] = Some(model.to_owned());
        }
        Ok(models)
    }
}

/// All models of the settings, and the routes to them.
#[derive(Debug)]
pub struct Models {
    all: Vec<Model>,
    default: usize,
    by_tier: [usize; Tier::ALL.len()],
    fallback: Option<usize>,
}

impl Models {
    /// The models of these names at these prices.
    pub fn new(default: &str, tiers: &TierModels, fallback: Option<&str>, prices: &Prices) -> Self {
        let mut all = Vec::<Model>::new();
        let mut index = |name: &str| {
            all.iter().position(|model| &*model.name == name).unwrap_or_else(|| {
                all.push(Model { index: all.len(), name: name.into(), price: prices.get(name) });
                all.len() - 1
            })
        };
        let default = index(default);
        let by_tier = tiers.0.each_ref().map(|name| name.as_deref().map_or(default, &mut index));
        let fallback = fallback.map(&mut index);
        Self { all, default, by_tier, fallback }
    }

    /// All of them.
    pub fn all(&self) -> &[Model] {
        &self.all
    }

    /// The model that answers a tenant.
    pub fn of(&self, tenant: &Tenant) -> &Model {
        &self.all[tenant.tier.map_or(self.default, |tier| self.by_tier[tier as usize])]
    }

    /// The model that takes over when this one fails.
    pub fn fallback(&self, from: &Model) -> Option<&Model> {
        self.fallback.map(|index| &self.all[index]).filter(|model| model.index != from.index)
    }

    /// All models that can answer a tenant.
    pub fn reachable(&self, tenant: &Tenant) -> impl Iterator<Item = &Model> {
        let first = self.of(tenant);
        [first].into_iter().chain(self.fallback(first))
    }

    /// All pairs of a model and the one that takes over.
    pub fn fallbacks(&self) -> impl Iterator<Item = (&Model, &Model)> {
        let routed = |model: &&Model| model.index == self.default || self.by_tier.contains(&model.index);
        self.all.iter().filter(routed).filter_map(|from| Some((from, self.fallback(from)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::Tenants;

    #[test]
    fn each_tier_has_its_model_and_one_takes_over_from_the_others() {
        let tenants = Tenants::parse(include_str!("../../config/tenants.toml")).unwrap();
        let prices = Prices::parse("as_of = \"2026-01-01\"\n[models]").unwrap();
        let tiers = "vip=gpt-5, free=gpt-5-nano".parse().unwrap();
        let models = Models::new("gpt-5-mini", &tiers, Some("gpt-5-nano"), &prices);
        let of = |id: &str| {
            models.reachable(&tenants.find(id).unwrap()).map(|model| &*model.name).collect::<Vec<_>>()
        };
        assert_eq!(of("acme"), ["gpt-5", "gpt-5-nano"]);
        assert_eq!(of("globex"), ["gpt-5-mini", "gpt-5-nano"]);
        assert_eq!(of("hooli"), ["gpt-5-nano"], "it does not take over from itself");
        let fallbacks: Vec<_> = models.fallbacks().map(|(from, to)| (&*from.name, &*to.name)).collect();
        assert_eq!(fallbacks, [("gpt-5-mini", "gpt-5-nano"), ("gpt-5", "gpt-5-nano")]);
        assert!(models.all().iter().all(|model| model.price.is_some()));
    }

    #[test]
    fn bad_routes_are_named() {
        for (text, named) in [("vip", "\"vip\" must be"), ("gold=m", "\"gold\""), ("vip=", "no model")] {
            let error = text.parse::<TierModels>().unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert_eq!("".parse(), Ok(TierModels::default()));
    }
}
