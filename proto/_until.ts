// Waiting for one thing, but not past another. `Promise.race` with a promise that lives as long as a
// call keeps every value ever raced against it; this keeps nothing.

/** Settles like `promise`, or rejects with the signal's reason when that fires first. */
export function until<T>(promise: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).then(() => signal.removeEventListener("abort", abort));
  });
}
