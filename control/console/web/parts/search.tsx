import { useEffect, useRef } from "preact/hooks";

/** A search box that `/` goes to, as everywhere on the web. */
export function Search({ label, value, onChange }: { label: string; value: string; onChange(value: string): void }) {
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const goTo = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && /^(input|textarea|select)$/i.test(event.target.tagName);
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      box.current?.focus();
    };
    addEventListener("keydown", goTo);
    return () => removeEventListener("keydown", goTo);
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
