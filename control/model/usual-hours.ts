/** What one container did in one hour. A container has entries only of hours in which it ran or was used. */
export type HourOfUse = {
  /** Hours since 1970. */
  hour: number;
  /** A request came, or traffic of a WebSocket or TCP connection. A start that berth made by itself is no use. */
  used: boolean;
  /** Cold starts that requests caused. */
  starts: number;
  /** What requests waited for them, together. */
  waitMs: number;
  runMs: number;
};

/** The local time of an hour. `day`: days since 1970; `minute`: of the week, from Sunday 0:00 on, at which it begins. */
export type LocalHour = { hour: number; day: number; minute: number };

/** What the last weeks of a container lead to. */
export type UsualHours = {
  /** Lines as in `keep_warm`; empty: no hour is usual. */
  hours: string[];
  /** What these hours would have saved, had it been warm in them: cold starts, and what requests waited for them. */
  starts: number;
  waitMs: number;
  /** How much longer it would have run. */
  extraMs: number;
  /** How many of its last usual periods in a row passed without use. */
  misses: number;
};

/** The hours of one container in one week of UTC, `week` weeks after 1970 began. It has at most 168 entries. */
export type UseWeek = { container: string; week: number; hours: PackedHour[] };

/** An hour of a `UseWeek`, by its number in that week: whether it was used (1), starts, waits in ms, and how many seconds it ran. */
export type PackedHour = [hour: number, used: 0 | 1, starts: number, waitMs: number, runSeconds: number];

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MINUTE_MS = 60_000;
const WEEK_HOURS = 7 * 24;
const HOUR_MINUTES = 60;
const DAY_MINUTES = 24 * 60;
const WEEK_MINUTES = 7 * DAY_MINUTES;
/** 1970 began on a Thursday. */
const FIRST_WEEKDAY = 4;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const FROM_MONDAY = [1, 2, 3, 4, 5, 6, 0];

/** Learning looks at so many whole weeks, which end yesterday. */
export const LEARNED_WEEKS = 4;
/** An hour of the week is usual with use in so many of them: a holiday week does not end a habit, and two busy weeks are none. */
export const USUAL_WEEKS = 3;
/** Hours that may matter: those weeks, and today. A day with a change of time has 25. */
const LEARNED_HOURS = (LEARNED_WEEKS * 7 + 1) * 24 + 1;
/** A suggestion saves at least one cold start in a week. */
const LEAST_STARTS = LEARNED_WEEKS;
/** After so many usual periods in a row without use, automatic warm-up pauses until the container is used in one again. */
export const MOST_MISSES = 3;

export function hourOf(at: number): number {
  return Math.floor(at / HOUR_MS);
}

export function weekOf(hour: number): number {
  return Math.floor(hour / WEEK_HOURS);
}

/** The first week of UTC that learning looks at: older ones are removed. */
export function firstLearnedWeek(now: number): number {
  return weekOf(hourOf(now) - LEARNED_HOURS + 1);
}

/** The hours of a week with one more, or with more of one that it has. */
export function addToWeek(hours: readonly PackedHour[], { hour, used, starts, waitMs, runMs }: HourOfUse): PackedHour[] {
  const index = hour % WEEK_HOURS;
  const before = hours.find(([other]) => other === index) ?? [index, 0, 0, 0, 0];
  const seconds = Math.min(HOUR_MS / 1_000, before[4] + Math.round(runMs / 1_000));
  const after: PackedHour = [index, used || before[1] === 1 ? 1 : 0, before[2] + starts, before[3] + Math.round(waitMs), seconds];
  return [...hours.filter(([other]) => other !== index), after].toSorted(([one], [other]) => one - other);
}

export function unpackWeek({ week, hours }: UseWeek): HourOfUse[] {
  return hours.map(([index, used, starts, waitMs, seconds]) => ({
    hour: week * WEEK_HOURS + index,
    used: used === 1,
    starts,
    waitMs,
    runMs: seconds * 1_000,
  }));
}

/** The hours that learning looks at, the current one last, in the local time of a zone. It serves all containers. */
export function localHours(zone: string, now: number): LocalHour[] {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    hourCycle: "h23",
  });
  const offsetAt = (hour: number) => {
    const fields: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(hour * HOUR_MS)) fields[type] = Number(value);
    const { year = 0, month = 1, day: date = 1, hour: hours = 0, minute: minutes = 0 } = fields;
    return Date.UTC(year, month - 1, date, hours, minutes) - hour * HOUR_MS;
  };
  const first = hourOf(now) - LEARNED_HOURS + 1;
  const all: LocalHour[] = [];
  let offset = offsetAt(first);
  for (let begin = 0; begin < LEARNED_HOURS; begin += 24) {
    const end = Math.min(begin + 24, LEARNED_HOURS - 1);
    // A conversion costs up to a millisecond: only a day in which the offset changes takes one for each hour.
    const isSame = offsetAt(first + end) === offset;
    for (let hour = first + begin; hour < first + Math.min(begin + 24, LEARNED_HOURS); hour++) {
      if (!isSame) offset = offsetAt(hour);
      const local = hour * HOUR_MS + offset;
      const day = Math.floor(local / DAY_MS);
      all.push({ hour, day, minute: ((day + FIRST_WEEKDAY) % 7) * DAY_MINUTES + (local - day * DAY_MS) / MINUTE_MS });
    }
    if (!isSame) offset = offsetAt(first + end);
  }
  const today = all.at(-1)?.day ?? 0;
  return all.filter(({ day }) => today - day <= LEARNED_WEEKS * 7);
}

/**
 * An hour of the week is usual if the container was used in it in at least `USUAL_WEEKS` of the last `LEARNED_WEEKS` weeks, which end yesterday; and if both its
 * neighbours are. `since`: epoch ms of the container's creation; no hour before counts.
 */
export function learnUsualHours(
  use: readonly HourOfUse[],
  { calendar, zone, since }: { calendar: readonly LocalHour[]; zone: string; since: number },
): UsualHours {
  const byHour = new Map(use.map((one) => [one.hour, one]));
  const today = calendar.at(-1)?.day ?? 0;
  const weeksOf = new Map<number, Set<number>>();
  for (const { hour, day, minute } of calendar) {
    if (day === today || byHour.get(hour)?.used !== true) continue;
    const weeks = weeksOf.get(minute) ?? new Set();
    weeksOf.set(minute, weeks.add(Math.floor((today - 1 - day) / 7)));
  }
  const usual = new Set([...weeksOf].flatMap(([minute, weeks]) => (weeks.size >= USUAL_WEEKS ? [minute] : [])));
  const inWeek = (minute: number) => (minute + WEEK_MINUTES) % WEEK_MINUTES;
  const gaps = [...usual].map((minute) => inWeek(minute + HOUR_MINUTES)).filter((between) => usual.has(inWeek(between + HOUR_MINUTES)));
  for (const between of gaps) usual.add(between);
  const learned: UsualHours = { hours: warmHourLines(usual, zone), starts: 0, waitMs: 0, extraMs: 0, misses: 0 };
  const lived = calendar.filter(({ hour }) => hour >= hourOf(since));
  for (const { hour, day, minute } of lived) {
    if (day === today || !usual.has(minute)) continue;
    const { starts = 0, waitMs = 0, runMs = 0 } = byHour.get(hour) ?? {};
    learned.starts += starts;
    learned.waitMs += waitMs;
    learned.extraMs += Math.max(0, HOUR_MS - runMs);
  }
  learned.misses = missesOf(lived, usual, (hour) => byHour.get(hour)?.used === true);
  return learned;
}

/** Whether `hours` save enough to suggest them. */
export function isWorthwhile({ hours, starts, misses }: UsualHours): boolean {
  return hours.length > 0 && starts >= LEAST_STARTS && misses < MOST_MISSES;
}

/** Periods of usual hours that have ended, the newest first, until one with use. */
function missesOf(calendar: readonly LocalHour[], usual: ReadonlySet<number>, isUsed: (hour: number) => boolean): number {
  let misses = 0;
  // The current hour has not ended, so neither has the period that contains it.
  let at = calendar.length - 1;
  while (at >= 0 && usual.has(calendar[at]?.minute ?? -1)) {
    if (isUsed(calendar[at]?.hour ?? -1)) return 0;
    at--;
  }
  while (at >= 0) {
    while (at >= 0 && !usual.has(calendar[at]?.minute ?? -1)) at--;
    if (at < 0) break;
    for (; at >= 0 && usual.has(calendar[at]?.minute ?? -1); at--) if (isUsed(calendar[at]?.hour ?? -1)) return misses;
    misses++;
  }
  return misses;
}

/** Days with the same hours share a line. */
function warmHourLines(usual: ReadonlySet<number>, zone: string): string[] {
  const daysOf = new Map<string, number[]>();
  for (const day of FROM_MONDAY) {
    const begin = day * DAY_MINUTES;
    const minutes = [...usual].filter((minute) => minute >= begin && minute < begin + DAY_MINUTES).toSorted((one, other) => one - other);
    for (let at = 0; at < minutes.length;) {
      const from = minutes[at] ?? 0;
      let to = from;
      while (at < minutes.length && minutes[at] === to) {
        to += HOUR_MINUTES;
        at++;
      }
      // A line ends at another time than it begins. In a zone with half an hour, a whole day would not.
      const isWholeDay = to - from === DAY_MINUTES && from !== begin;
      const ends = isWholeDay ? [from, from + DAY_MINUTES / 2, to] : [from, to];
      for (const [index, end] of ends.slice(1).entries()) {
        const span = `${timeText((ends[index] ?? from) - begin)}-${timeText(end - begin)}`;
        daysOf.set(span, [...(daysOf.get(span) ?? []), day]);
      }
    }
  }
  return [...daysOf].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([span, days]) => `${daysText(days)} ${span} ${zone}`);
}

/** `keep_warm` has 24:00, and no later time of a day. */
function timeText(minutes: number): string {
  const inDay = minutes > DAY_MINUTES ? minutes - DAY_MINUTES : minutes;
  return `${String(Math.floor(inDay / 60)).padStart(2, "0")}:${String(inDay % 60).padStart(2, "0")}`;
}

/** `days` in the order of `FROM_MONDAY`. */
function daysText(days: readonly number[]): string {
  const runs: { first: number; last: number }[] = [];
  for (const day of days.map((one) => FROM_MONDAY.indexOf(one))) {
    const run = runs.at(-1);
    if (run && run.last === day - 1) run.last = day;
    else runs.push({ first: day, last: day });
  }
  const name = (index: number) => DAYS[FROM_MONDAY[index] ?? 0] ?? "";
  return runs.map(({ first, last }) => (first === last ? name(first) : `${name(first)}${last === first + 1 ? "," : "-"}${name(last)}`)).join(",");
}
