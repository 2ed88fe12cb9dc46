//! What tenants may spend in a day (UTC), and have. Kept in memory: a restart, and each instance, begins with nothing.
use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use super::cost::NanoUsd;
use crate::tenants::Tenant;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The budget of a hard limit is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What the tenant may spend in a day.
    pub budget: NanoUsd,
    /// Until the next day begins.
    pub seconds_left: u64,
}

/// What was spent on a day.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    day: u64,
    amount: NanoUsd,
}

impl Spent {
    fn on(&mut self, day: u64) -> &mut NanoUsd {
        if self.day != day {
            *self = Self { day, amount: NanoUsd(0) };
        }
        &mut self.amount
    }
}

/// All tenants' spending of the day.
#[derive(Debug)]
pub struct Budgets {
    /// By [`Tenant::index`].
    spent: Vec<Mutex<Spent>>,
}

impl Budgets {
    /// For so many tenants, none of whom has spent anything.
    pub fn new(tenants: usize) -> Self {
        Self { spent: (0..tenants).map(|_| Mutex::default()).collect() }
    }

    /// Whether the tenant may call the model. Calls that are under way are not counted yet, so a tenant can spend a
    /// little more than its budget.
    pub fn admit(&self, tenant: &Tenant, now: SystemTime) -> Result<(), Exceeded> {
        let Some(budget) = tenant.budget.filter(|budget| budget.hard) else { return Ok(()) };
        let seconds = seconds(now);
        if self.with(tenant, seconds, |spent| *spent) < budget.per_day {
            return Ok(());
        }
        Err(Exceeded { budget: budget.per_day, seconds_left: DAY_SECONDS - seconds % DAY_SECONDS })
    }

    /// Adds what a call has cost. True for the call that brings the tenant over its budget.
    pub fn spend(&self, tenant: &Tenant, cost: NanoUsd, now: SystemTime) -> bool {
        let (before, after) = self.with(tenant, seconds(now), |spent| {
            let before = *spent;
            spent.0 = spent.0.saturating_add(cost.0);
            (before, *spent)
        });
        tenant.budget.is_some_and(|budget| before < budget.per_day && after >= budget.per_day)
    }

    /// What the tenant has spent today.
    pub fn spent(&self, tenant: &Tenant, now: SystemTime) -> NanoUsd {
        self.with(tenant, seconds(now), |spent| *spent)
    }

    fn with<T>(&self, tenant: &Tenant, seconds: u64, work: impl FnOnce(&mut NanoUsd) -> T) -> T {
        let mut spent = self.spent[tenant.index].lock().unwrap_or_else(PoisonError::into_inner);
        work(spent.on(seconds / DAY_SECONDS))
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tenants::Tenants;

    #[test]
    fn a_hard_budget_ends_with_the_day_and_a_soft_one_only_tells() {
        let tenants = Tenants::parse(
            "[[tenant]]\nid = \"soft\"\ntier = \"vip\"\nbudget_usd_per_day = 1.0\n\
             [[tenant]]\nid = \"hard\"\ntier = \"free\"\nbudget_usd_per_day = 1.0\nhard_budget = true\n",
        )
        .unwrap();
        let budgets = Budgets::new(tenants.all().len());
        let evening = UNIX_EPOCH + Duration::from_secs(10 * DAY_SECONDS - 60);
        let half = NanoUsd(500_000_000);
        for (id, refused) in [("soft", false), ("hard", true)] {
            let tenant = tenants.find(id).unwrap();
            assert!(!budgets.spend(&tenant, half, evening));
            assert_eq!(budgets.admit(&tenant, evening), Ok(()));
            assert!(budgets.spend(&tenant, half, evening), "the one that brings it over");
            assert!(!budgets.spend(&tenant, half, evening), "it is over already");
            let expected = if refused {
                Err(Exceeded { budget: NanoUsd(1_000_000_000), seconds_left: 60 })
            } else {
                Ok(())
            };
            assert_eq!(budgets.admit(&tenant, evening), expected, "{id}");
            let morning = evening + Duration::from_mins(1);
            assert_eq!(budgets.spent(&tenant, morning), NanoUsd(0));
            assert_eq!(budgets.admit(&tenant, morning), Ok(()));
        }
    }
}
