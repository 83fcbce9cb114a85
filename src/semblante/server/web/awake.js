// Keeps a telephone's screen on during work that would stop if the screen were locked.

// Until the `signal` is aborted. Without effect if the browser cannot do it, or is not allowed to.
export function stayAwake(signal) {
  let lock = null;
  const ask = async () => {
    if (document.hidden || signal.aborted) return; // hiding the page releases the lock; showing it asks again
    lock = await navigator.wakeLock?.request("screen").catch(() => null);
    if (signal.aborted) lock?.release();
  };
  document.addEventListener("visibilitychange", ask, { signal });
  signal.addEventListener("abort", () => lock?.release());
  ask();
}
