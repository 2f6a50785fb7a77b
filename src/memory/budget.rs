//! The ledger: what may be used, what is, and by whom.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use crossbeam_channel::Sender;

use super::probe::{MemoryProbe, MemoryReading, SystemProbe};
use super::reclaim::Reclaim;
use super::status::{Holder, MemoryStatus, OverBudget};
use crate::contain::contain;
use crate::id::ByteSize;
use crate::sync::Mutex;

/// The memory that all pools of one engine share. Clones are the same budget.
///
/// No reservation is ever granted that would take the reserved bytes above the limit. When the limit falls
/// below what is already reserved, nothing is granted until enough has been given back.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    /// The one place where bytes are counted.
    ledger: Mutex<Ledger>,
    probe: Option<Box<dyn MemoryProbe>>,
    fraction: f64,
    /// Told, without blocking, whenever bytes come back or the cap is another.
    listeners: Mutex<Vec<Sender<()>>>,
    /// Who could give bytes back. Weak: a pool that is gone holds nothing.
    reclaimers: Mutex<Vec<Weak<dyn Reclaim>>>,
}

#[derive(Default)]
struct Ledger {
    /// What the last reading allows.
    share: u64,
    /// What is allowed whatever there is.
    cap: u64,
    /// What the system could still give at the last reading. `promised` bytes of it are spoken for.
    available: u64,
    reserved: u64,
    /// The part of `reserved` that its holders have not yet taken from the system.
    promised: u64,
    next: u64,
    holders: BTreeMap<u64, Entry>,
    measuring: u64,
    measurements: u64,
}

impl Shared {
    /// What the probe says; `None` if there is none, or if it panics: then the figures stay as they are.
    fn read(&self) -> Option<MemoryReading> {
        let probe = self.probe.as_ref()?;
        contain(|| probe.read())
            .inspect_err(
                |message| tracing::warn!(%message, "the memory probe panicked; its last reading stands"),
            )
            .ok()
    }
}

struct Entry {
    label: Arc<str>,
    bytes: u64,
    promised: u64,
}

impl Ledger {
    fn limit(&self) -> u64 {
        self.share.min(self.cap)
    }

    fn free(&self) -> u64 {
        let by_limit = self.limit().saturating_sub(self.reserved);
        by_limit.min(self.available.saturating_sub(self.promised))
    }

    fn refusal(&self, need: u64) -> OverBudget {
        OverBudget {
            need: ByteSize::new(need),
            free: ByteSize::new(self.free()),
            limit: ByteSize::new(self.limit()),
            holders: self.holders(),
        }
    }

    fn holders(&self) -> Vec<Holder> {
        let holder =
            |entry: &Entry| Holder { label: Arc::clone(&entry.label), bytes: ByteSize::new(entry.bytes) };
        self.holders.values().filter(|entry| entry.bytes > 0).map(holder).collect()
    }
}

impl MemoryBudget {
    /// `fraction` of the memory that `probe` sees, and never more than is available at the moment.
    pub fn new(fraction: f64, probe: impl MemoryProbe) -> Self {
        Self::build(fraction, ByteSize::MAX, Some(Box::new(probe)))
    }

    /// 80 % of this machine's memory, or of the cgroup's that the process runs in where that is smaller.
    pub fn system() -> Self {
        Self::new(Self::DEFAULT_FRACTION, SystemProbe::new())
    }

    /// As [`system`](Self::system), and at most `cap`.
    pub fn capped(fraction: f64, cap: ByteSize) -> Self {
        Self::build(fraction, cap, Some(Box::new(SystemProbe::new())))
    }

    /// Exactly `limit`, whatever the machine has.
    pub fn fixed(limit: ByteSize) -> Self {
        Self::build(1.0, limit, None)
    }

    /// The share of memory that models may take.
    pub const DEFAULT_FRACTION: f64 = 0.8;

    fn build(fraction: f64, cap: ByteSize, probe: Option<Box<dyn MemoryProbe>>) -> Self {
        let (share, available) = (u64::MAX, u64::MAX);
        let ledger = Ledger { share, cap: cap.bytes(), available, ..Ledger::default() };
        let shared = Shared {
            ledger: Mutex::new(ledger),
            probe,
            fraction,
            listeners: Mutex::new(Vec::new()),
            reclaimers: Mutex::new(Vec::new()),
        };
        let budget = Self(Arc::new(shared));
        budget.refresh();
        budget
    }

    /// Reads the probe again. Reservations already granted are not touched.
    pub fn refresh(&self) {
        let Some(reading) = self.0.read() else { return };
        let share = reading.total.min(reading.cgroup_limit).fraction(self.0.fraction);
        let mut ledger = self.0.ledger.lock();
        (ledger.share, ledger.available) = (share.bytes(), reading.available.bytes());
    }

    /// At most `cap` from now on, in place of the cap that it was made with. Reservations already granted are
    /// not touched: pools give up what is idle until the rest fits.
    pub fn set_cap(&self, cap: ByteSize) {
        self.0.ledger.lock().cap = cap.bytes();
        // A higher one is as good as bytes that come back.
        self.ring();
    }

    /// Sets aside `bytes` for `label`, or says why not. Decided in one step against the last reading.
    pub fn try_reserve(
        &self,
        label: impl Into<Arc<str>>,
        bytes: ByteSize,
    ) -> Result<Reservation, OverBudget> {
        let need = bytes.bytes();
        let mut ledger = self.0.ledger.lock();
        if need > ledger.free() {
            return Err(ledger.refusal(need));
        }
        let id = ledger.next;
        ledger.next += 1;
        ledger.reserved += need;
        ledger.promised += need;
        ledger.holders.insert(id, Entry { label: label.into(), bytes: need, promised: need });
        Ok(Reservation { budget: self.clone(), id })
    }

    /// Whether `bytes` would be granted now, and if not, why: a dry run that reserves nothing.
    pub fn would_fit(&self, bytes: ByteSize) -> Result<(), OverBudget> {
        let ledger = self.0.ledger.lock();
        if bytes.bytes() > ledger.free() { Err(ledger.refusal(bytes.bytes())) } else { Ok(()) }
    }

    /// The figures now.
    pub fn status(&self) -> MemoryStatus {
        let ledger = self.0.ledger.lock();
        MemoryStatus {
            limit: ByteSize::new(ledger.limit()),
            reserved: ByteSize::new(ledger.reserved),
            free: ByteSize::new(ledger.free()),
            holders: ledger.holders(),
        }
    }

    /// The bytes reserved now, by everyone.
    pub fn reserved(&self) -> ByteSize {
        ByteSize::new(self.0.ledger.lock().reserved)
    }

    /// The part of it that belongs to loads under way.
    pub(crate) fn promised(&self) -> ByteSize {
        ByteSize::new(self.0.ledger.lock().promised)
    }

    /// The limit as of the last reading, or the cap where that is less.
    pub fn limit(&self) -> ByteSize {
        ByteSize::new(self.0.ledger.lock().limit())
    }

    /// How far reservations exceed a limit that has fallen since they were granted.
    pub fn overdraft(&self) -> ByteSize {
        let ledger = self.0.ledger.lock();
        ByteSize::new(ledger.reserved.saturating_sub(ledger.limit()))
    }

    /// `listener` gets a message, if it has room for one, whenever bytes come back or the cap is another.
    pub(crate) fn on_release(&self, listener: Sender<()>) {
        self.0.listeners.lock().push(listener);
    }

    /// `reclaimer` may be asked for bytes, as long as it lives.
    pub(crate) fn register(&self, reclaimer: Weak<dyn Reclaim>) {
        self.0.reclaimers.lock().push(reclaimer);
    }

    /// Everyone who could give bytes back.
    pub(crate) fn reclaimers(&self) -> Vec<Arc<dyn Reclaim>> {
        let mut reclaimers = self.0.reclaimers.lock();
        reclaimers.retain(|reclaimer| reclaimer.strong_count() > 0);
        reclaimers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Starts watching how much the process grows.
    pub(crate) fn measure(&self) -> Measurement {
        let mut ledger = self.0.ledger.lock();
        ledger.measuring += 1;
        ledger.measurements += 1;
        let alone = ledger.measuring == 1;
        let number = ledger.measurements;
        drop(ledger);
        let mut measurement = Measurement { budget: self.clone(), before: None, number };
        if alone {
            measurement.before = self.0.read().map(|reading| reading.resident);
        }
        measurement
    }

    fn release(&self, id: u64) {
        let mut ledger = self.0.ledger.lock();
        if let Some(entry) = ledger.holders.remove(&id) {
            ledger.reserved -= entry.bytes;
            ledger.promised -= entry.promised;
        }
        drop(ledger);
        self.ring();
    }

    fn ring(&self) {
        let mut listeners = self.0.listeners.lock();
        // A full listener has a message waiting already; one that is gone is forgotten.
        listeners.retain(|listener| !matches!(listener.try_send(()), Err(error) if error.is_disconnected()));
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        write!(f, "MemoryBudget({} of {} reserved)", status.reserved, status.limit)
    }
}

/// Permission to use some bytes. Dropping it gives them back.
#[must_use = "dropping a reservation gives its bytes back"]
pub struct Reservation {
    budget: MemoryBudget,
    id: u64,
}

impl Reservation {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> ByteSize {
        ByteSize::new(self.budget.0.ledger.lock().holders.get(&self.id).map_or(0, |entry| entry.bytes))
    }

    /// Parts with `bytes` of it, or with all if there are not so many: two reservations that were granted in
    /// one decision.
    pub(crate) fn split(&mut self, label: impl Into<Arc<str>>, bytes: ByteSize) -> Self {
        let mut ledger = self.budget.0.ledger.lock();
        let ledger = &mut *ledger;
        let (mut part, mut promised) = (0, 0);
        if let Some(entry) = ledger.holders.get_mut(&self.id) {
            part = bytes.bytes().min(entry.bytes);
            entry.bytes -= part;
            promised = entry.promised.saturating_sub(entry.bytes);
            entry.promised -= promised;
        }
        let id = ledger.next;
        ledger.next += 1;
        ledger.holders.insert(id, Entry { label: label.into(), bytes: part, promised });
        Self { budget: self.budget.clone(), id }
    }

    /// Says that the bytes have been taken from the system and are `actual` in truth. Fewer always
    /// succeeds. More succeeds if they fit; otherwise the reservation stays as it was and the holder must
    /// make room or give up what it loaded.
    pub fn settle(&mut self, actual: ByteSize) -> Result<(), OverBudget> {
        self.budget.refresh();
        let mut ledger = self.budget.0.ledger.lock();
        let ledger = &mut *ledger;
        let room = ledger.limit().saturating_sub(ledger.reserved);
        let Some(entry) = ledger.holders.get_mut(&self.id) else { return Ok(()) };
        ledger.promised -= std::mem::take(&mut entry.promised);
        let (old, new) = (entry.bytes, actual.bytes());
        if new > old && new - old > room {
            return Err(ledger.refusal(new - old));
        }
        entry.bytes = new;
        ledger.reserved = ledger.reserved - old + new;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.id);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({})", self.bytes())
    }
}

/// The growth of the process while one load ran, if no other ran beside it.
pub(crate) struct Measurement {
    budget: MemoryBudget,
    before: Option<ByteSize>,
    number: u64,
}

impl Measurement {
    /// How much the process has grown since; `None` when another load makes that meaningless.
    pub(crate) fn growth(&self) -> Option<ByteSize> {
        let after = self.budget.0.read()?.resident;
        let undisturbed = self.budget.0.ledger.lock().measurements == self.number;
        self.before.filter(|_| undisturbed).map(|before| after.saturating_sub(before))
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.budget.0.ledger.lock().measuring -= 1;
    }
}
