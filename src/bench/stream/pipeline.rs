//! A broker, a relay and an aggregator, as processes of their own.

use super::super::figures::{Figures, figures};
use super::super::process::Process;
use super::super::{BenchError, Lab, meter};
use crate::stream::broker::{Plan, Running, Wish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use std::path::PathBuf;

/// Starts a part of the stream.
async fn part(lab: &Lab, command: &str, port: u16) -> Result<Process, BenchError> {
    let target = lab.target().with_user("htap_refresh").to_conninfo();
    let brokers = format!("127.0.0.1:{port}");
    Process::start(&["stream", command, "--brokers", &brokers, &target]).await
}

/// What the processes have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) relay_ms: f64,
    pub(super) aggregator_ms: f64,
    pub(super) broker_ms: f64,
    pub(super) relay_bytes: f64,
    pub(super) aggregator_bytes: f64,
}

impl Used {
    /// Processors that all of them kept busy for `seconds`.
    pub(super) fn cores(self, before: Self, seconds: f64) -> f64 {
        let all = |used: Self| used.relay_ms + used.aggregator_ms + used.broker_ms;
        (all(self) - all(before)) / 1_000.0 / seconds.max(0.001)
    }

    /// Figures of `events` since `before`; per 1,000 events only if there were as many.
    pub(super) fn since(self, before: Self, events: f64) -> Figures {
        let mut figures = figures([
            ("events", events),
            ("relay_rss_mib_max", self.relay_bytes / 1_048_576.0),
            (
                "aggregator_rss_mib_max",
                self.aggregator_bytes / 1_048_576.0,
            ),
        ]);
        if events >= 1_000.0 {
            let mut per = |name: &str, ms: f64| {
                figures.insert(name.to_owned(), ms / (events / 1_000.0));
            };
            per("relay_own_ms_per_1000", self.relay_ms - before.relay_ms);
            per(
                "aggregator_own_ms_per_1000",
                self.aggregator_ms - before.aggregator_ms,
            );
            per("broker_ms_per_1000", self.broker_ms - before.broker_ms);
        }
        figures
    }
}

pub(super) struct Pipeline {
    broker: Running,
    /// Kept while the broker is killed and started again.
    data: tempfile::TempDir,
    relay: Option<Process>,
    aggregator: Option<Process>,
}

impl Pipeline {
    /// Starts a broker.
    pub(super) async fn start() -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| {
            BenchError::Unavailable(format!("failed to make a folder: {error}"))
        };
        let data = tempfile::Builder::new()
            .prefix("htap-top-bench-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .map_err(failed)?;
        Ok(Self {
            broker: broker(0, data.path().join("kafka")).await?,
            data,
            relay: None,
            aggregator: None,
        })
    }

    /// Starts a broker, a relay and an aggregator, and waits until both lead.
    pub(super) async fn running(lab: &Lab) -> Result<Self, BenchError> {
        let mut pipeline = Self::start().await?;
        pipeline.start_relay(lab).await?;
        pipeline.start_aggregator(lab).await?;
        let lead = "SELECT count(*)::float8 FROM htap.stream_state WHERE state = 'running'";
        super::until(lab, lead, |count| count > 1.5).await?;
        Ok(pipeline)
    }

    pub(super) async fn start_relay(&mut self, lab: &Lab) -> Result<(), BenchError> {
        self.relay = Some(part(lab, "relay", self.broker.port()).await?);
        Ok(())
    }

    pub(super) async fn start_aggregator(&mut self, lab: &Lab) -> Result<(), BenchError> {
        self.aggregator = Some(part(lab, "run", self.broker.port()).await?);
        Ok(())
    }

    /// Kills the relay, and starts another one at once.
    pub(super) async fn kill_relay(&mut self, lab: &Lab) -> Result<(), BenchError> {
        if let Some(relay) = &self.relay {
            relay.kill();
        }
        self.start_relay(lab).await
    }

    /// Kills the aggregator, and starts another one at once.
    pub(super) async fn kill_aggregator(&mut self, lab: &Lab) -> Result<(), BenchError> {
        if let Some(aggregator) = &self.aggregator {
            aggregator.kill();
        }
        self.start_aggregator(lab).await
    }

    /// Kills Kafka, and starts it again with the same data as soon as it is gone.
    pub(super) async fn kill_broker(&mut self) -> Result<(), BenchError> {
        if let Some(java) = self.java() {
            let _ = kill(Pid::from_raw(java.cast_signed()), Signal::SIGKILL);
        }
        self.broker.ended().await;
        self.broker = broker(self.broker.port(), self.data.path().join("kafka")).await?;
        Ok(())
    }

    /// The process of Kafka: it works in the broker's folder.
    fn java(&self) -> Option<u32> {
        let folder = std::fs::canonicalize(self.broker.folder()).ok()?;
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let mut here = processes.filter(|process| {
            let path = process.path();
            std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == folder)
                && std::fs::read_to_string(path.join("comm"))
                    .is_ok_and(|name| name.trim() == "java")
        });
        here.find_map(|process| process.file_name().to_string_lossy().parse().ok())
    }

    pub(super) fn used(&self) -> Used {
        let ms = |pid: Option<u32>| {
            let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
            let ticks = pid.and_then(meter::ticks_of).unwrap_or(0);
            ticks as f64 * 1_000.0 / hertz as f64
        };
        let relay = self.relay.as_ref().map(|process| process.pid);
        let aggregator = self.aggregator.as_ref().map(|process| process.pid);
        Used {
            relay_ms: ms(relay),
            aggregator_ms: ms(aggregator),
            broker_ms: ms(self.java()),
            relay_bytes: relay.and_then(most_memory).unwrap_or(0.0),
            aggregator_bytes: aggregator.and_then(most_memory).unwrap_or(0.0),
        }
    }

    /// Ends all of them.
    pub(super) async fn stop(self) -> Result<(), BenchError> {
        for process in [&self.relay, &self.aggregator].into_iter().flatten() {
            process.kill();
        }
        Ok(self.broker.stop().await?)
    }
}

/// The most memory that a process has had resident, in bytes.
fn most_memory(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024.0)
}

async fn broker(port: u16, data: PathBuf) -> Result<Running, BenchError> {
    let wish = Wish {
        port,
        data: Some(data),
        java: None,
        heap: 256,
    };
    let planned = Plan::new(wish, |_| {}).await;
    let plan = planned.map_err(|error| BenchError::Unavailable(error.to_string()))?;
    let mut running = plan.start().await?;
    running.ready().await?;
    Ok(running)
}
