import type { ComponentChildren } from "preact";

/** A list of names and values. */
export function Facts({ facts }: { facts: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** An error message with an optional button to try again. */
export function Failure({ error, onRetry }: { error: Error | undefined; onRetry?: () => void }) {
  if (error === undefined) return null;
  return (
    <p class="failure" role="alert">
      {error.message}{" "}
      {onRetry ? (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      ) : null}
    </p>
  );
}

/** The style of a status by its prefix; the first match wins. */
const APPEARANCES: readonly { begins: string; look: "good" | "moving" | "resting" | "bad" }[] = [
  { begins: "started", look: "good" },
  { begins: "ready", look: "good" },
  { begins: "stopped", look: "resting" },
  { begins: "deleted", look: "resting" },
  { begins: "error", look: "bad" },
  { begins: "", look: "moving" },
];

export function Status({ status }: { status: string }) {
  const { look } = APPEARANCES.find(({ begins }) => status.startsWith(begins)) ?? { look: "moving" };
  return <span class={`status ${look}`}>{status}</span>;
}

const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes in a readable unit: `3.4 MiB`. */
export function sizeOf(bytes: number): string {
  const step = Math.min(SIZE_UNITS.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${step === 0 ? bytes : (bytes / 1024 ** step).toFixed(1)} ${SIZE_UNITS[step]}`;
}
