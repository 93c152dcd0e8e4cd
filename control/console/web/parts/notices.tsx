import { type ComponentChildren, createContext } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";

/** What happened to an action, shown over the page: a table keeps its rows as they are. */
type Notice = { id: number; kind: "failed" | "done"; text: string };

type Notices = { failed(reason: unknown): void; done(text: string): void };

/** A failure stays until it is closed; other notices end by themselves. */
const DONE_MS = 4_000;
/** With more, the oldest is removed. */
const MOST_NOTICES = 4;

const NoticeContext = createContext<Notices>({ failed: () => {}, done: () => {} });

export function useNotices(): Notices {
  return useContext(NoticeContext);
}

export function NoticeBoard({ children }: { children: ComponentChildren }) {
  const [notices, setNotices] = useState<readonly Notice[]>([]);
  const next = useRef(0);
  const close = (id: number) => setNotices((all) => all.filter((one) => one.id !== id));
  const add = useRef((kind: Notice["kind"], text: string) => {
    const id = next.current++;
    // The same failure of twenty containers is one notice.
    setNotices((all) => [...all.filter((one) => one.text !== text), { id, kind, text }].slice(-MOST_NOTICES));
  });
  const value = useRef<Notices>({
    failed: (reason) => {
      // A sign-in form is shown already.
      if ((reason as { status?: number }).status !== 401) add.current("failed", (reason as Error).message);
    },
    done: (text) => add.current("done", text),
  });
  return (
    <NoticeContext.Provider value={value.current}>
      {children}
      <div class="notices">
        {notices.map((notice) => (
          <NoticeBox key={notice.id} notice={notice} onClose={() => close(notice.id)} />
        ))}
      </div>
    </NoticeContext.Provider>
  );
}

function NoticeBox({ notice: { kind, text }, onClose }: { notice: Notice; onClose(): void }) {
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    if (kind === "failed") return undefined;
    const timer = setTimeout(() => close.current(), DONE_MS);
    return () => clearTimeout(timer);
  }, [kind]);
  return (
    <div class={`notice ${kind}`} role={kind === "failed" ? "alert" : "status"}>
      <span>{text}</span>
      <button type="button" class="plain" aria-label="Close" onClick={onClose}>
        ×
      </button>
    </div>
  );
}
