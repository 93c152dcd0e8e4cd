/** Answers as `answer` does, or rejects with the signal's reason as soon as it aborts; whatever `answer` does then is nobody's. */
export function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    const forget = () => signal.removeEventListener("abort", onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    answer.then(resolve, reject).finally(forget);
    if (signal.aborted) onAbort();
  });
}
