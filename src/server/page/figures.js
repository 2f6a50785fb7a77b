// Numbers as people read them, each with its unit.

/// Seconds of a duration, which the server writes as whole seconds and nanoseconds or as a number of seconds.
export function seconds(duration) {
  if (typeof duration === "number") return duration;
  return duration ? duration.secs + duration.nanos / 1e9 : 0;
}

export function bytes(count) {
  for (const [unit, size] of [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

export function time(secs) {
  if (secs >= 5400) return `${(secs / 3600).toFixed(1)} h`;
  if (secs >= 90) return `${Math.round(secs / 60)} min`;
  if (secs >= 1) return `${secs < 10 ? secs.toFixed(1) : Math.round(secs)} s`;
  if (secs >= 1e-3) return `${secs < 1e-2 ? (secs * 1e3).toFixed(1) : Math.round(secs * 1e3)} ms`;
  return secs === 0 ? "0 s" : `${Math.max(1, Math.round(secs * 1e6))} µs`;
}

export function count(number) {
  return Math.round(number).toLocaleString("en");
}

export function rate(number) {
  return number >= 100 ? count(number) : number.toFixed(number >= 10 || number === 0 ? 0 : 1);
}

/// When something was, on the reader's own clock.
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

/// What remains of a histogram's counts when those of an earlier look are taken away.
export function since(now, then) {
  const buckets = now.buckets.map((count, index) => count - (then?.buckets[index] ?? 0));
  return { count: now.count - (then?.count ?? 0), buckets };
}

/// The bound that a share of the durations did not exceed: bucket n holds those of at most 2^n microseconds.
export function quantile(histogram, share) {
  const rank = Math.max(1, Math.ceil(histogram.count * share));
  let seen = 0;
  for (const [index, count] of histogram.buckets.entries()) {
    seen += count;
    if (count > 0 && seen >= rank) return 2 ** index / 1e6;
  }
  return 0;
}
