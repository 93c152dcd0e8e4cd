import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useNotices } from "./notices.tsx";

/** A button that sends a request: disabled while the request runs. A failure is a notice over the page. */
export function Action({ act, children, kind, disabled = false }: ActionProps) {
  const [busy, setBusy] = useState(false);
  const notices = useNotices();
  const click = () => {
    setBusy(true);
    act()
      .catch(notices.failed)
      .finally(() => setBusy(false));
  };
  return (
    <button type="button" class={kind} disabled={busy || disabled} aria-busy={busy} onClick={click}>
      {children}
    </button>
  );
}

type ActionProps = {
  act(): Promise<unknown>;
  children: ComponentChildren;
  kind?: "primary" | "danger" | undefined;
  disabled?: boolean | undefined;
};

/** A button that opens a list of actions. Escape, a choice and a click elsewhere close it. */
export function Menu({ label, children }: { label: string; children: ComponentChildren }) {
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = () => {
      if (!box.current) return;
      // A choice is hidden with the list: the focus must not be lost, and a dialog returns it.
      if (box.current.contains(document.activeElement)) box.current.querySelector("summary")?.focus();
      box.current.open = false;
    };
    const onClick = (event: MouseEvent) => {
      if (box.current?.open && !box.current.querySelector("summary")?.contains(event.target as Node)) close();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && box.current?.open) close();
    };
    addEventListener("click", onClick);
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("click", onClick);
      removeEventListener("keydown", onKey);
    };
  }, []);
  return (
    <details class="menu" ref={box}>
      <summary>{label}</summary>
      <div class="menu-items">{children}</div>
    </details>
  );
}

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

type FilterProps = { label: string; choices: readonly { word: string; count: number | undefined }[]; value: string; onChange(word: string): void };

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

export function Toggle({ label, value, onChange }: { label: string; value: boolean; onChange(value: boolean): void }) {
  return (
    <label class="toggle">
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.currentTarget.checked)} /> {label}
    </label>
  );
}
