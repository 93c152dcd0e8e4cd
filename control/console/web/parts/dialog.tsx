import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A modal dialog. `onClose`: Escape, or undefined if it has to be answered. */
export function Dialog({ title, children, onClose }: { title: string; children: ComponentChildren; onClose?: (() => void) | undefined }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    box.current?.showModal();
  }, []);
  const onCancel = (event: Event) => {
    event.preventDefault();
    onClose?.();
  };
  return (
    <dialog ref={box} aria-label={title} onCancel={onCancel}>
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
