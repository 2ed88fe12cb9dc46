//! The tenants file: who may ask, and which values the `tenant_id` label can have.
use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;

use crate::pipeline::cost::NanoUsd;

/// What a tenant has paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Logged in more detail.
    Vip,
    /// The usual.
    Standard,
    /// Pays nothing.
    Free,
}

impl Tier {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 3] = [Self::Vip, Self::Standard, Self::Free];

    /// The name in files, logs and spans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::Standard => "standard",
            Self::Free => "free",
        }
    }
}

/// What a tenant may spend on the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In a day, UTC.
    pub per_day: NanoUsd,
    /// Whether further calls of the model are refused once it is spent; otherwise that is only told.
    pub hard: bool,
}

/// One tenant, or the stand-in for everybody who is none.
#[derive(Debug)]
pub struct Tenant {
    /// Position in the file; the stand-in comes after the last. Indexes what is kept per tenant.
    pub index: usize,
    /// As callers send it, and the value of the `tenant_id` label.
    pub id: Arc<str>,
    /// None for the stand-in.
    pub tier: Option<Tier>,
    /// None where there is no limit.
    pub budget: Option<Budget>,
}

impl Tenant {
    /// The tier in logs and spans.
    pub fn tier_name(&self) -> &'static str {
        self.tier.map_or("none", Tier::name)
    }
}

/// The label of whoever is not in the file.
pub const OTHER: &str = "other";
const MAX_ID_LENGTH: usize = 64;
const MAX_BUDGET_USD: f64 = 1e6;

/// All tenants of the file.
#[derive(Debug)]
pub struct Tenants {
    all: Vec<Arc<Tenant>>,
    by_id: HashMap<Arc<str>, Arc<Tenant>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenant: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    tier: Tier,
    budget_usd_per_day: Option<f64>,
    #[serde(default)]
    hard_budget: bool,
}

impl Tenants {
    /// Reads the TOML text of a tenants file. The error is one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| one_line(&e, text))?;
        let mut all = Vec::with_capacity(file.tenant.len() + 1);
        let mut by_id = HashMap::new();
        for (index, Entry { id, tier, budget_usd_per_day, hard_budget }) in
            file.tenant.into_iter().enumerate()
        {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if id.is_empty() || id.len() > MAX_ID_LENGTH || !id.chars().all(plain) {
                return Err(format!(
                    "tenant id {id:?}: use 1 to {MAX_ID_LENGTH} ASCII letters, digits, '-', '_' or '.'"
                ));
            }
            if id == OTHER {
                return Err(format!("tenant id {OTHER:?} is reserved for callers that are not in the file"));
            }
            let budget = match budget_usd_per_day {
                Some(usd) if !(0.0..=MAX_BUDGET_USD).contains(&usd) => {
                    return Err(format!(
                        "tenant {id:?}: budget_usd_per_day {usd}: use 0 to {MAX_BUDGET_USD} US dollars"
                    ));
                }
                None if hard_budget => {
                    return Err(format!("tenant {id:?}: hard_budget without budget_usd_per_day"));
                }
                usd => usd.map(|usd| Budget { per_day: NanoUsd::from_usd(usd), hard: hard_budget }),
            };
            let tenant = Arc::new(Tenant { index, id: id.into(), tier: Some(tier), budget });
            if by_id.insert(tenant.id.clone(), tenant.clone()).is_some() {
                return Err(format!("tenant id {:?} stands twice in the file", tenant.id));
            }
            all.push(tenant);
        }
        if all.is_empty() {
            return Err("no [[tenant]] in the file: nobody could ask anything".to_owned());
        }
        all.push(Arc::new(Tenant { index: all.len(), id: OTHER.into(), tier: None, budget: None }));
        Ok(Self { all, by_id })
    }

    /// The tenant with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Tenant>> {
        self.by_id.get(id).cloned()
    }

    /// Stands in for callers that are no tenant, or not known yet.
    pub fn other(&self) -> Arc<Tenant> {
        self.all[self.all.len() - 1].clone()
    }

    /// The tenants in the order of the file, then the stand-in.
    pub fn all(&self) -> &[Arc<Tenant>] {
        &self.all
    }
}

/// A TOML error without its drawing of the place.
pub(crate) fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
    format!("line {line}: {}", error.message().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_is_valid() {
        let tenants = Tenants::parse(include_str!("../config/tenants.toml")).unwrap();
        let ids: Vec<_> = tenants.all().iter().map(|t| (&*t.id, t.tier_name())).collect();
        assert_eq!(
            ids,
            [
                ("acme", "vip"),
                ("globex", "standard"),
                ("initech", "standard"),
                ("umbrella", "standard"),
                ("hooli", "free"),
                ("other", "none"),
            ]
        );
        assert!(tenants.find("other").is_none());
        assert!(tenants.all().iter().enumerate().all(|(i, t)| t.index == i));
    }

    #[test]
    fn a_bad_file_is_one_line_that_names_the_value() {
        for (text, named) in [
            ("", "missing field `tenant`"),
            ("tenant = []", "no [[tenant]]"),
            ("[[tenant]]\nid = \"a b\"\ntier = \"vip\"", "\"a b\""),
            ("[[tenant]]\nid = \"other\"\ntier = \"vip\"", "reserved"),
            ("[[tenant]]\nid = \"a\"\ntier = \"vip\"\nbudget_usd_per_day = -1.0", "-1"),
            ("[[tenant]]\nid = \"a\"\ntier = \"vip\"\nbudget_usd_per_day = nan", "NaN"),
            ("[[tenant]]\nid = \"a\"\ntier = \"vip\"\nhard_budget = true", "without budget"),
            ("[[tenant]]\nid = \"a\"\ntier = \"gold\"", "line 3: unknown variant `gold`"),
            ("[[tenant]]\nid = \"a\"\ntier = \"vip\"\n[[tenant]]\nid = \"a\"\ntier = \"free\"", "twice"),
        ] {
            let error = Tenants::parse(text).unwrap_err();
            assert!(error.contains(named), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
