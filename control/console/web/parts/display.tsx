import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { serverNow } from "../api-client.ts";

/** A list of names and values. */
export function Facts({ facts }: { facts: readonly (readonly [name: ComponentChildren, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value], index) => (
        <div key={typeof name === "string" ? name : index}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A sentence of berth's. What stands in backticks is code. */
export function MessageText({ text }: { text: string }) {
  return <>{text.split("`").map((part, index) => (index % 2 === 0 ? part : <code key={index}>{part}</code>))}</>;
}

/** An error message with an optional button to try again. */
export function Failure({ error, onRetry }: { error: (Error & { status?: number }) | undefined; onRetry?: () => void }) {
  // The session has ended: a sign-in form is over the page, and the message of 401 is for programs.
  if (error === undefined || error.status === 401) return null;
  return (
    <p class="failure" role="alert">
      <MessageText text={error.message} />{" "}
      {onRetry ? (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      ) : null}
    </p>
  );
}

type FailedPageProps = {
  title: string;
  error: Error;
  onRetry: () => void;
  /** The list that the page belongs to. */
  list?: { title: string; href: string };
};

/** In place of a page that could not be loaded. */
export function FailedPage({ title, error, onRetry, list }: FailedPageProps) {
  return (
    <>
      {list ? (
        <p class="trail">
          <a href={list.href}>{list.title}</a> /
        </p>
      ) : null}
      <h1>{title}</h1>
      <Failure error={error} onRetry={onRetry} />
    </>
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

export type Appearance = (typeof APPEARANCES)[number]["look"];

export function appearanceOf(status: string): Appearance {
  return APPEARANCES.find(({ begins }) => status.startsWith(begins))?.look ?? "moving";
}

/** The API's word also stands for a container that has never run. */
const SLEEPING = "stopped by system";

/** The word for a status. The API has others for some, which tooltips show. */
export function statusText(status: string): string {
  return status === SLEEPING ? "sleeping" : status;
}

export function Status({ status }: { status: string }) {
  const text = statusText(status);
  return (
    <span class={`status ${appearanceOf(status)}`} title={text === status ? undefined : status}>
      {text}
    </span>
  );
}

/** A part of a page under a heading of its own. */
export function Section({ title, children }: { title: string; children: ComponentChildren }) {
  const id = `section-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  return (
    <section aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}

export function Loading() {
  return (
    <p class="waiting" role="status">
      Loading…
    </p>
  );
}

const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes in a readable unit: `3.4 MiB`. */
export function sizeOf(bytes: number): string {
  const step = Math.min(SIZE_UNITS.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${step === 0 ? bytes : (bytes / 1024 ** step).toFixed(1)} ${SIZE_UNITS[step]}`;
}

const UNITS: readonly { unit: Intl.RelativeTimeFormatUnit; ms: number }[] = [
  { unit: "day", ms: 86_400_000 },
  { unit: "hour", ms: 3_600_000 },
  { unit: "minute", ms: 60_000 },
  { unit: "second", ms: 1_000 },
];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** `5 minutes ago`, or `5 minutes` if it is `bare`, with the exact time as a tooltip. */
export function Moment({ at, bare = false }: { at: string | null | undefined; bare?: boolean }) {
  const now = useNow();
  if (at === null || at === undefined) return <span class="quiet">never</span>;
  const time = new Date(at);
  return (
    <time dateTime={at} title={time.toLocaleString()}>
      {bare ? spanOf(Math.max(0, now - time.getTime())) : relative(time.getTime() - now)}
    </time>
  );
}

/** The local time in a form that sorts: `2026-11-30 19:42:07`. */
export function ExactTime({ at }: { at: string }) {
  const time = new Date(at);
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString();
  return (
    <time dateTime={at} class="exact">
      {local.slice(0, 10)} {local.slice(11, 19)}
    </time>
  );
}

/** Milliseconds in a readable unit: `340 ms`, `1.2 s`, `3 min`, `4.5 d`. */
export function spanOf(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 86_400_000 ? `${(ms / 3_600_000).toFixed(1)} h` : `${(ms / 86_400_000).toFixed(1)} d`;
}

function relative(ms: number): string {
  const { unit, ms: size } = UNITS.find((one) => Math.abs(ms) >= one.ms) ?? { unit: "second" as const, ms: 1_000 };
  return RELATIVE.format(Math.trunc(ms / size), unit);
}

function useNow(): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** `isAction`: the column contains buttons; only screen readers read its name. `isNumber`: aligned at the end. */
export type Column<T> = { name: string; cell(row: T): ComponentChildren; isAction?: true; isNumber?: true };

type TableProps<T> = { columns: readonly Column<T>[]; rows: readonly T[]; keyOf(row: T): string; kind?: string };

/** On a narrow screen each row is a card, with a column's name before its cell. `kind`: a class. */
export function Table<T>({ columns, rows, keyOf, kind }: TableProps<T>) {
  return (
    <table class={kind}>
      <thead>
        <tr>
          {columns.map(({ name, isAction, isNumber }) => (
            <th key={name} scope="col" class={isNumber ? "numeric" : undefined}>
              {isAction ? <span class="unseen">{name}</span> : name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map(({ name, cell, isAction, isNumber }) =>
              isAction ? (
                <td key={name} class="actions">
                  {cell(row)}
                </td>
              ) : (
                <td key={name} data-label={name} class={isNumber ? "numeric" : undefined}>
                  {/* One child, also where a row is a card. */}
                  <div>{cell(row)}</div>
                </td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
