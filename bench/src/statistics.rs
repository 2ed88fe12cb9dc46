//! Medians and quartiles: a machine that does other things too now and then makes a round far too long.
use serde::Serialize;

/// What many rounds measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the rounds had less.
    pub q1: f64,
    /// Half of them.
    pub median: f64,
    /// A quarter had more.
    pub q3: f64,
}

impl Spread {
    /// Of these values; all zero where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { q1: quantile(&values, 0.25), median: quantile(&values, 0.5), q3: quantile(&values, 0.75) }
    }
}

/// Between the two nearest of sorted values.
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = at * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_nearest_values() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0, 5.0]), Spread { q1: 2.0, median: 3.0, q3: 4.0 });
        assert_eq!(Spread::of([2.0, 1.0]).median.to_bits(), 1.5_f64.to_bits());
        assert_eq!(Spread::of([]), Spread::default());
    }
}
