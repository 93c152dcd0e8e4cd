import type { ComponentChildren } from "preact";
import { useState, useEffect, useRef } from "preact/hooks";

/** A button that sends a request: disabled while the request runs, with an error beside it if it fails. */
export function Action({ act, children, confirm, primary }: ActionProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const click = () => {
    if (confirm !== undefined && !globalThis.confirm(confirm)) return;
    setBusy(true);
    setError(undefined);
    act()
      .catch((reason: unknown) => setError((reason as Error).message))
      .finally(() => setBusy(false));
  };
  return (
    <>
      <button type="button" class={primary ? "primary" : undefined} disabled={busy} aria-busy={busy} onClick={click}>
        {children}
      </button>
      {error === undefined ? null : (
        <span class="failure" role="alert">
          {error}
        </span>
      )}
    </>
  );
}

type ActionProps = { act(): Promise<unknown>; children: ComponentChildren; confirm?: string; primary?: boolean };

/** A choice of one word, with a count for each. */
export function Filter({ label, choices, value, onChange }: FilterProps) {
  return (
    <div class="filter" role="group" aria-label={label}>
      {choices.map(({ word, count }) => (
        <button key={word} type="button" aria-pressed={value === word} onClick={() => onChange(word)}>
          {word} <small>{count}</small>
        </button>
      ))}
    </div>
  );
}

type FilterProps = { label: string; choices: readonly { word: string; count: number }[]; value: string; onChange(word: string): void };

/** A search box that the key `/` focuses. */
export function Search({ label, value, onChange }: { label: string; value: string; onChange(value: string): void }) {
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focusOnSlash = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && /^(input|textarea|select)$/i.test(event.target.tagName);
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      box.current?.focus();
    };
    addEventListener("keydown", focusOnSlash);
    return () => removeEventListener("keydown", focusOnSlash);
  }, []);
  return (
    <input
      ref={box}
      type="search"
      placeholder={`${label} (/)`}
      aria-label={label}
      value={value}
      onInput={(event) => onChange(event.currentTarget.value)}
    />
  );
}
