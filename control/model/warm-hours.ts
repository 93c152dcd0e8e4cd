/** One line of `keep_warm`: on these days, from one time of the day to another, in the time of that zone. */
export type WarmHours = { days: readonly number[]; from: number; to: number; zone: string };

/** What berth does with the hours in which a container is usually used. */
export const WARM_UP_MODES = ["off", "suggest", "auto"] as const;
export type WarmUpMode = (typeof WARM_UP_MODES)[number];

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const SHAPE = /^([a-z,-]+) (\d\d):(\d\d)-(\d\d):(\d\d)(?: (\S+))?$/i;
const DAY_MINUTES = 24 * 60;
const WEEK_MINUTES = 7 * DAY_MINUTES;
const MINUTE_MS = 60_000;

/** The allowed form of a line, for messages about a wrong one. */
export const WARM_HOURS_ALLOWED = 'lines such as "Mon-Fri 08:00-18:00 Europe/Berlin" or "Sat,Sun 22:00-02:00", in UTC where no zone is named';

/** Undefined: the line is not valid. A `to` at or before `from` is on the next day. */
export function readWarmHours(line: string): WarmHours | undefined {
  const [, dayWords, fromHours, fromMinutes, toHours, toMinutes, zone = "UTC"] = SHAPE.exec(line) ?? [];
  if (dayWords === undefined) return undefined;
  const days = dayWords.toLowerCase().split(",").map(readDays);
  const from = readTime(fromHours, fromMinutes);
  const to = readTime(toHours, toMinutes);
  if (from === undefined || to === undefined || from === DAY_MINUTES || from === to || !isZone(zone)) return undefined;
  if (days.some((some) => some === undefined)) return undefined;
  return { days: [...new Set(days.flatMap((some) => some ?? []))], from, to: to > from ? to : to + DAY_MINUTES, zone };
}

/** Epoch ms at which the warm hours that `now` lies in end; undefined: it lies in none. */
export function warmUntil(lines: readonly string[], now: number): number | undefined {
  const ends = spans(lines, now).filter(({ since, left }) => since >= 0 && left > 0);
  return ends.length === 0 ? undefined : Math.max(...ends.map(({ hours, left }) => atLocal(hours, now, left, hours.to)));
}

/** Epoch ms at which the next warm hours begin; undefined: never. */
export function nextWarm(lines: readonly string[], now: number): number | undefined {
  const begins = spans(lines, now).map(({ hours, since }) => {
    const ahead = (WEEK_MINUTES - since) % WEEK_MINUTES || WEEK_MINUTES;
    return atLocal(hours, now, ahead, hours.from);
  });
  return begins.length === 0 ? undefined : Math.min(...begins);
}

/** Of each day of each line: how many minutes of the week have passed since it began, and are left of it, at `now`. */
function spans(lines: readonly string[], now: number) {
  const minutes = new Map<string, number>();
  const minuteIn = (zone: string) => {
    const minute = minutes.get(zone) ?? minuteOfWeek(now, zone);
    minutes.set(zone, minute);
    return minute;
  };
  return lines.flatMap((line) => {
    const hours = readWarmHours(line);
    if (!hours) return [];
    const minute = minuteIn(hours.zone);
    return hours.days.map((day) => {
      const since = (minute - day * DAY_MINUTES - hours.from + WEEK_MINUTES) % WEEK_MINUTES;
      return { hours, since, left: hours.to - hours.from - since };
    });
  });
}

/** The moment `minutes` after `now` by local time: a change to or from daylight saving time in between moves it. */
function atLocal({ zone }: WarmHours, now: number, minutes: number, timeOfDay: number): number {
  const moment = Math.floor(now / MINUTE_MS) * MINUTE_MS + minutes * MINUTE_MS;
  const off = (minuteOfWeek(moment, zone) - timeOfDay + WEEK_MINUTES) % DAY_MINUTES;
  return moment - (off > DAY_MINUTES / 2 ? off - DAY_MINUTES : off) * MINUTE_MS;
}

/** From Sunday, 0:00 on. */
function minuteOfWeek(at: number, zone: string): number {
  const fields = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    weekday: "short",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  }).formatToParts(at);
  const part = (type: string) => fields.find((one) => one.type === type)?.value ?? "";
  return DAYS.indexOf(part("weekday").toLowerCase()) * DAY_MINUTES + Number(part("hour")) * 60 + Number(part("minute"));
}

/** `mon`, or `mon-fri`, which may go over the weekend. */
function readDays(word: string): number[] | undefined {
  const [first = -1, last = first, ...more] = word.split("-").map((name) => DAYS.indexOf(name));
  if (first < 0 || last < 0 || more.length > 0) return undefined;
  return Array.from({ length: ((last - first + 7) % 7) + 1 }, (_, at) => (first + at) % 7);
}

function readTime(hours = "", minutes = ""): number | undefined {
  const minute = Number(hours) * 60 + Number(minutes);
  return Number(minutes) < 60 && minute <= DAY_MINUTES ? minute : undefined;
}

/** Whether the runtime knows a time zone of this name. */
export function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat("en-US", { timeZone: zone }).format(0) !== "";
  } catch {
    return false;
  }
}
