//! Load of this machine, measured every `node_stats.stats_update_interval` by a thread of its own.
//! Health is judged by its freshness: a node that cannot even measure itself takes no clients.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::gauge;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// Figures of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Load {
    pub cpus: usize,
    /// Share of all processors in use, 0.0..=1.0.
    pub cpu_load: f32,
    pub load_avg_1m: f64,
    pub load_avg_5m: f64,
    pub load_avg_15m: f64,
    pub memory_total_bytes: u64,
    pub memory_used_bytes: u64,
}

#[derive(Debug)]
struct Latest {
    load: Load,
    at: Instant,
}

/// The latest figures, shared.
#[derive(Clone, Debug)]
pub struct NodeStats {
    latest: Arc<Mutex<Latest>>,
    stale_after: Duration,
}

impl NodeStats {
    /// Starts measuring. The thread ends when the last clone is gone.
    pub fn start(interval: Duration) -> std::io::Result<NodeStats> {
        let latest = Arc::new(Mutex::new(Latest {
            load: Load::default(),
            at: Instant::now(),
        }));
        let weak = Arc::downgrade(&latest);
        let interval = interval.max(Duration::from_millis(100));
        let measure = move || {
            let kind = RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing().with_usage())
                .with_memory(MemoryRefreshKind::nothing().with_ram());
            let mut system = System::new_with_specifics(kind).ok();
            while let Some(latest) = weak.upgrade() {
                let load = system.as_mut().map_or_else(Load::default, |system| {
                    system.refresh_specifics(kind);
                    measured(system)
                });
                publish(&load);
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = Latest {
                    load,
                    at: Instant::now(),
                };
                drop(latest);
                std::thread::sleep(interval);
            }
        };
        std::thread::Builder::new()
            .name("node-stats".into())
            .spawn(measure)?;
        Ok(NodeStats {
            latest,
            stale_after: interval * 2,
        })
    }

    pub fn load(&self) -> Load {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .load
    }

    /// Whether the figures are fresh enough to trust this node with clients.
    pub fn healthy(&self) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.at.elapsed() < self.stale_after
    }
}

fn measured(system: &System) -> Load {
    let average = System::load_average().ok();
    Load {
        cpus: system.cpus().len(),
        cpu_load: system.global_cpu_usage() / 100.0,
        load_avg_1m: average.as_ref().map_or(0.0, |load| load.one),
        load_avg_5m: average.as_ref().map_or(0.0, |load| load.five),
        load_avg_15m: average.as_ref().map_or(0.0, |load| load.fifteen),
        memory_total_bytes: system.total_memory(),
        memory_used_bytes: system.used_memory(),
    }
}

fn publish(load: &Load) {
    gauge!("livekit_node_cpu_load").set(f64::from(load.cpu_load));
    gauge!("skein_node_load_average", "minutes" => "1").set(load.load_avg_1m);
    gauge!("skein_node_memory_used_bytes").set(load.memory_used_bytes as f64);
    gauge!("skein_node_memory_total_bytes").set(load.memory_total_bytes as f64);
}
