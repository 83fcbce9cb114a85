// A telephone's screen stays on while something goes on in the page that would end with it.

// Until the `signal` is aborted. A browser that does not know how, or is not allowed to, lets it go dark.
export function stayAwake(signal) {
  let lock = null;
  const ask = async () => {
    if (document.hidden || signal.aborted) return; // a page that is hidden has lost it, and asks again
    lock = await navigator.wakeLock?.request("screen").catch(() => null);
    if (signal.aborted) lock?.release();
  };
  document.addEventListener("visibilitychange", ask, { signal });
  signal.addEventListener("abort", () => lock?.release());
  ask();
}
