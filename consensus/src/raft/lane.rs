//! Where blocking disk work runs: a thread of its own, or (simulated disks never block) a task that
//! spends the disk's delay in virtual time. Both take jobs in order from one bounded queue.

use std::time::Duration;

use tokio::sync::mpsc;

/// Where the disk work of a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lanes {
    /// One thread for the log, one for snapshots.
    #[default]
    Threads,
    /// Tasks of the caller's runtime: for simulated disks only.
    Tasks,
}

/// Something that takes jobs one by one and finishes a batch of them at once.
pub(crate) trait Worker: Send + 'static {
    type Job: Send + 'static;

    fn take(&mut self, job: Self::Job);
    /// After the jobs that were waiting; returns how long the disk should have taken (a simulated
    /// one takes that long before its next batch is durable).
    fn finish(&mut self) -> Duration;
    /// What must not be told before.
    fn tell(&mut self);
    /// Nobody is left to ask for anything.
    fn end(&mut self) {}
}

/// The sending end. The worker ends when all of them are gone.
pub(crate) fn start<W: Worker>(
    mut worker: W,
    lanes: Lanes,
    name: &str,
    jobs_max: usize,
    batch_max: usize,
) -> std::io::Result<mpsc::Sender<W::Job>> {
    // overflow: awaited
    let (sender, mut receiver) = mpsc::channel(jobs_max);
    match lanes {
        Lanes::Threads => {
            std::thread::Builder::new()
                .name(name.to_string())
                .spawn(move || {
                    while let Some(job) = receiver.blocking_recv() {
                        batch(&mut worker, &mut receiver, job, batch_max);
                        worker.finish();
                        worker.tell();
                    }
                    worker.end();
                })?;
        }
        Lanes::Tasks => {
            tokio::spawn(async move {
                let mut delay = Duration::ZERO;
                while let Some(job) = receiver.recv().await {
                    batch(&mut worker, &mut receiver, job, batch_max);
                    // Before, not after: a crash meanwhile must find nothing durable.
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    delay = worker.finish();
                    worker.tell();
                }
                worker.end();
            });
        }
    }
    Ok(sender)
}

fn batch<W: Worker>(
    worker: &mut W,
    receiver: &mut mpsc::Receiver<W::Job>,
    first: W::Job,
    batch_max: usize,
) {
    worker.take(first);
    for _ in 1..batch_max {
        match receiver.try_recv() {
            Ok(job) => worker.take(job),
            Err(_) => break,
        }
    }
}
