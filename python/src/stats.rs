//! What the engine has counted, as Python has it.

use fanwire::ShardStats;
use fanwire_access::Changed;
use pyo3::prelude::*;
use pyo3::types::PyDict;

macro_rules! stats {
    ($($own:ident),*; $($name:ident)*) => {
        /// What an engine, or one of its shards, has counted.
        #[pyclass(frozen, get_all, module = "fanwire")]
        #[derive(Clone, Debug, Default)]
        pub struct Stats {
            $(pub $own: u64,)*
            $(pub $name: u64,)*
        }

        impl Stats {
            /// With the numbers of a shard, or of all of them together.
            pub fn with_shard(self, shard: &ShardStats) -> Self {
                Stats { $($own: self.$own,)* $($name: shard.$name,)* }
            }

            fn pairs(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($own), self.$own),)* $((stringify!($name), self.$name),)*]
            }
        }
    };
}

fanwire::for_each_counter!(stats shards, ring_bytes, payload_bytes;);

#[pymethods]
impl Stats {
    /// All numbers by their names.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.pairs() {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let shown: Vec<String> = self
            .pairs()
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("fanwire.Stats({})", shown.join(", "))
    }
}

/// What has come of new settings.
#[pyclass(frozen, get_all, module = "fanwire")]
#[derive(Clone, Debug)]
pub struct Reconfigured {
    pub changed: Vec<String>,
    pub needs_restart: Vec<String>,
    pub certificates: usize,
    pub tokens: Option<String>,
}

impl From<(fanwire::Reconfigured, Changed)> for Reconfigured {
    fn from((told, of_tokens): (fanwire::Reconfigured, Changed)) -> Self {
        let names =
            |of: Vec<&'static str>, more: Vec<&'static str>| of.into_iter().chain(more).map(str::to_owned).collect();
        let fanwire::Reconfigured { changed, needs_restart, certificates, .. } = told;
        Reconfigured {
            changed: names(changed, of_tokens.changed),
            needs_restart: names(needs_restart, of_tokens.needs_restart),
            certificates,
            tokens: of_tokens.said,
        }
    }
}

#[pymethods]
impl Reconfigured {
    fn __repr__(&self) -> String {
        let Reconfigured { changed, needs_restart, certificates, .. } = self;
        format!(
            "fanwire.Reconfigured(changed={changed:?}, needs_restart={needs_restart:?}, certificates={certificates})"
        )
    }
}

/// How the subscribers of a topic stand.
#[pyclass(frozen, get_all, module = "fanwire")]
#[derive(Clone, Debug)]
pub struct Pressure {
    pub subscribers: u64,
    pub fullest: f64,
    pub oldest: f64,
    pub dropped_critical: u64,
    pub dropped_high: u64,
    pub dropped_normal: u64,
    pub dropped_low: u64,
}

#[pymethods]
impl Pressure {
    fn __repr__(&self) -> String {
        let Self { subscribers, fullest, oldest, .. } = self;
        let dropped = self.dropped_critical + self.dropped_high + self.dropped_normal + self.dropped_low;
        format!(
            "fanwire.Pressure(subscribers={subscribers}, fullest={fullest:.3}, oldest={oldest:.3}, dropped={dropped})"
        )
    }
}
