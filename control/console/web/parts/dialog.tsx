import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { copyText } from "./clipboard.ts";

/** A modal dialog. `onClose`: Escape, or undefined if it has to be answered. Then the focus is where it was, or in the page if that is gone. */
export function Dialog({ title, children, onClose }: { title: string; children: ComponentChildren; onClose?: (() => void) | undefined }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    box.current?.showModal();
    return () => {
      const isThere = before instanceof HTMLElement && before.isConnected && before !== document.body;
      (isThere ? before : document.getElementById("main"))?.focus();
    };
  }, []);
  const onCancel = (event: Event) => {
    event.preventDefault();
    onClose?.();
  };
  // A browser closes it at repeated Escape, also without `cancel`.
  const onClosed = () => (onClose === undefined ? box.current?.showModal() : onClose());
  return (
    <dialog ref={box} aria-label={title} onCancel={onCancel} onClose={onClosed}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

type ConfirmProps = { title: string; children: ComponentChildren; verb: string; onConfirm(): void; onClose(): void };

/** A question before something that cannot be undone. */
export function ConfirmDialog({ title, children, verb, onConfirm, onClose }: ConfirmProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <div class="tools end">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="danger" onClick={onConfirm}>
          {verb}
        </button>
      </div>
    </Dialog>
  );
}

type FormProps = { title: string; children: ComponentChildren; verb: string; onSubmit(): Promise<unknown>; onClose(): void };

/** A form over the page. It stays open until the server accepts it: a notice behind it would not be seen. */
export function FormDialog({ title, children, verb, onSubmit, onClose }: FormProps) {
  const [error, setError] = useState<Error>();
  const [isBusy, setBusy] = useState(false);
  const submit = (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    onSubmit().catch((reason: unknown) => {
      setError(reason as Error);
      setBusy(false);
    });
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form class="fields" onSubmit={submit}>
        {children}
        {error ? (
          <p class="failure" role="alert">
            {error.message}
          </p>
        ) : null}
        <div class="tools end">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isBusy} aria-busy={isBusy}>
            {verb}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

type TextFieldProps = {
  label: string;
  value: string;
  onChange(value: string): void;
  hint?: ComponentChildren;
  pattern?: string;
  maxLength?: number;
  isRequired?: boolean;
  /** Values that the browser offers. */
  offers?: readonly string[];
};

export function TextField({ label, value, onChange, hint, pattern, maxLength, isRequired = false, offers }: TextFieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="text"
        autocomplete="off"
        spellcheck={false}
        autocapitalize="off"
        value={value}
        required={isRequired}
        {...(pattern === undefined ? {} : { pattern })}
        {...(maxLength === undefined ? {} : { maxLength })}
        {...(hint === undefined ? {} : { "aria-describedby": `${id}-hint` })}
        {...(offers === undefined ? {} : { list: `${id}-offers` })}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      {offers === undefined ? null : (
        <datalist id={`${id}-offers`}>
          {offers.map((offer) => (
            <option key={offer} value={offer} />
          ))}
        </datalist>
      )}
      {hint === undefined ? null : (
        <p id={`${id}-hint`} class="quiet">
          {hint}
        </p>
      )}
    </div>
  );
}

type SecretProps = { title: string; label: string; secret: string; children: ComponentChildren; onClose(): void };

/** Shows a secret that is not shown again. It has to be answered. */
export function SecretDialog({ title, label, secret, children, onClose }: SecretProps) {
  const [outcome, setOutcome] = useState("");
  const copy = () =>
    copyText(secret).then(
      () => setOutcome("Copied."),
      () => setOutcome(`The browser refused access to the clipboard: select the ${label.toLowerCase()} and copy it.`),
    );
  return (
    <Dialog title={title}>
      {children}
      <div class="tools">
        <input class="secret-once" type="text" readOnly aria-label={label} value={secret} onFocus={(event) => event.currentTarget.select()} />
        <button type="button" class="primary" onClick={() => void copy()}>
          Copy
        </button>
      </div>
      <p class="quiet" role="status">
        {outcome}
      </p>
      <div class="tools end">
        <button type="button" onClick={onClose}>
          Done
        </button>
      </div>
    </Dialog>
  );
}
