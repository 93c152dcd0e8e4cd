import t from "tap";
import { hourOf, type HourOfUse, isWorthwhile, learnUsualHours, localHours, LEARNED_WEEKS } from "../../../control/model/usual-hours.ts";
import { readWarmHours, warmUntil } from "../../../control/model/warm-hours.ts";

const HOUR_MS = 3_600_000;
const WEEK_MS = 7 * 24 * HOUR_MS;

type LocalTime = { weekday: string; hour: number; date: string };

/** The use of some weeks before `now`, by a rule in local time: the hours in which it holds. */
function generate(now: number, zone: string, isUsed: (time: LocalTime) => boolean, weeks = LEARNED_WEEKS + 1): HourOfUse[] {
  const use: HourOfUse[] = [];
  for (let hour = hourOf(now - weeks * WEEK_MS); hour < hourOf(now); hour++) {
    const fields = new Intl.DateTimeFormat("en-CA", {
      timeZone: zone,
      weekday: "short",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      hourCycle: "h23",
    }).formatToParts(hour * HOUR_MS);
    const part = (type: string) => fields.find((one) => one.type === type)?.value ?? "";
    const weekday = part("weekday").slice(0, 3);
    if (isUsed({ weekday, hour: Number(part("hour")), date: `${part("year")}-${part("month")}-${part("day")}` }))
      use.push({ hour, used: true, starts: 2, waitMs: 20_000, runMs: 600_000 });
  }
  return use;
}

const isWorkday = ({ weekday }: LocalTime) => weekday !== "Sat" && weekday !== "Sun";
const isOffice = (time: LocalTime) => isWorkday(time) && time.hour >= 8 && time.hour < 17;

function learn(use: readonly HourOfUse[], { now, zone = "Europe/Berlin", since = 0 }: { now: number; zone?: string; since?: number }) {
  return learnUsualHours(use, { calendar: localHours(zone, now), zone, since });
}

// A Monday, at 10:30 in Berlin.
const NOW = Date.parse("2026-07-27T08:30:00Z");

t.test("office hours are usual on workdays, whatever the zone, and say what they would have saved and cost", async (t) => {
  for (const zone of ["Europe/Berlin", "America/New_York", "UTC"]) {
    const learned = learn(generate(NOW, zone, isOffice), { now: NOW, zone });
    t.strictSame(learned.hours, [`Mon-Fri 08:00-17:00 ${zone}`]);
    t.ok(learned.hours.every((line) => readWarmHours(line)));
    t.equal(learned.starts, 4 * 5 * 9 * 2);
    t.equal(learned.waitMs, 4 * 5 * 9 * 20_000);
    t.equal(learned.extraMs, 4 * 5 * 9 * (HOUR_MS - 600_000));
    t.equal(learned.misses, 0);
    t.ok(isWorthwhile(learned));
  }
  const lunch = learn(
    generate(NOW, "UTC", (time) => isOffice(time) && time.hour !== 12),
    { now: NOW, zone: "UTC" },
  );
  t.strictSame(lunch.hours, ["Mon-Fri 08:00-17:00 UTC"], "one hour between two usual ones is usual");
  t.strictSame(learn(generate(NOW, "Asia/Kolkata", isOffice), { now: NOW, zone: "Asia/Kolkata" }).hours, ["Mon-Fri 08:30-17:30 Asia/Kolkata"]);
});

t.test("a nightly job has one hour of each day, and periods that pass midnight have a line for each side", async (t) => {
  t.strictSame(
    learn(
      generate(NOW, "UTC", ({ hour }) => hour === 2),
      { now: NOW, zone: "UTC" },
    ).hours,
    ["Mon-Sun 02:00-03:00 UTC"],
  );
  const late = learn(
    generate(NOW, "UTC", ({ weekday, hour }) => (weekday === "Sat" && hour >= 22) || (weekday === "Sun" && hour < 2)),
    { now: NOW, zone: "UTC" },
  );
  t.strictSame(late.hours, ["Sun 00:00-02:00 UTC", "Sat 22:00-24:00 UTC"]);
  const split = learn(
    generate(NOW, "UTC", ({ weekday, hour }) => hour === 9 && ["Mon", "Tue", "Thu"].includes(weekday)),
    { now: NOW, zone: "UTC" },
  );
  t.strictSame(split.hours, ["Mon,Tue,Thu 09:00-10:00 UTC"]);
});

t.test("rare use, a burst, and two weeks of habit are not usual", async (t) => {
  const rare = learn(
    generate(NOW, "UTC", ({ weekday, hour, date }) => weekday === "Wed" && hour === 9 && Number(date.slice(8)) < 15),
    { now: NOW },
  );
  t.strictSame([rare.hours, isWorthwhile(rare)], [[], false]);
  const burst = generate(NOW, "UTC", ({ date }) => date === "2026-07-22" || date === "2026-07-23").map((one) => ({ ...one, starts: 50 }));
  t.strictSame(learn(burst, { now: NOW }).hours, []);
  t.strictSame(learn(generate(NOW, "UTC", isOffice, 2), { now: NOW, zone: "UTC" }).hours, []);
  t.strictSame(learn(generate(NOW, "UTC", isOffice, 3), { now: NOW, zone: "UTC" }).hours, ["Mon-Fri 08:00-17:00 UTC"]);
  t.strictSame(learn([], { now: NOW }), { hours: [], starts: 0, waitMs: 0, extraMs: 0, misses: 0 });
});

t.test("a holiday of a week does not end a habit; it counts as misses until the next use", async (t) => {
  const away = (time: LocalTime) => isOffice(time) && !(time.date >= "2026-07-20" && time.date <= "2026-07-26");
  const learned = learn(
    generate(NOW, "Europe/Berlin", (time) => away(time) && time.date !== "2026-07-27"),
    { now: NOW },
  );
  t.strictSame(learned.hours, ["Mon-Fri 08:00-17:00 Europe/Berlin"]);
  t.equal(learned.misses, 5);
  t.notOk(isWorthwhile(learned));
  const back = learn(generate(NOW, "Europe/Berlin", away), { now: NOW });
  t.equal(back.misses, 0, "the period of today has not ended, and was used");
  const evening = NOW + 12 * HOUR_MS;
  t.equal(learn(generate(evening, "Europe/Berlin", away), { now: evening }).misses, 0);
});

t.test("hours follow local time over changes to and from daylight saving time", async (t) => {
  // Berlin changes on 2026-03-29 and 2026-10-25. Two weeks of the four lie on each side.
  for (const day of ["2026-04-13", "2026-11-09"]) {
    const now = Date.parse(`${day}T11:30:00Z`);
    t.strictSame(learn(generate(now, "Europe/Berlin", isOffice), { now }).hours, ["Mon-Fri 08:00-17:00 Europe/Berlin"], day);
    t.strictSame(
      learn(
        generate(now, "Europe/Berlin", ({ hour }) => hour === 2),
        { now },
      ).hours,
      ["Mon-Sun 02:00-03:00 Europe/Berlin"],
      "an hour that a Sunday lacks or has twice",
    );
  }
});

t.test("no hour before the container's creation costs anything or counts as a miss", async (t) => {
  const since = NOW - 3 * WEEK_MS - 2 * 24 * HOUR_MS;
  const use = generate(NOW, "UTC", isOffice).filter(({ hour }) => hour * HOUR_MS >= since);
  const learned = learn(use, { now: NOW, zone: "UTC", since });
  t.strictSame(learned.hours, ["Mon-Fri 08:00-17:00 UTC"]);
  t.equal(learned.extraMs, use.filter(({ hour }) => hour < hourOf(Date.parse("2026-07-27T00:00:00Z"))).length * (HOUR_MS - 600_000));
});

t.test("a container that is always used is warm all day", async (t) => {
  t.strictSame(
    learn(
      generate(NOW, "UTC", () => true),
      { now: NOW, zone: "UTC" },
    ).hours,
    ["Mon-Sun 00:00-24:00 UTC"],
  );
});

t.test("local time is right at each hour, also of a day on which it changes", async (t) => {
  for (const [zone, day] of [
    ["Europe/Berlin", "2026-04-13"],
    ["Europe/Berlin", "2026-11-09"],
    ["America/New_York", "2026-11-20"],
    ["Australia/Lord_Howe", "2026-10-20"],
    ["Asia/Kolkata", "2026-10-20"],
  ] as const) {
    const format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, weekday: "short", day: "2-digit", hour: "2-digit", minute: "2-digit" });
    const wrong = localHours(zone, Date.parse(`${day}T11:30:00Z`)).filter(({ hour, day: local, minute }) => {
      const shown = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
      return format.format(hour * HOUR_MS) !== shown.format(local * 24 * HOUR_MS + (minute % 1_440) * 60_000);
    });
    t.strictSame(wrong, [], zone);
  }
});

t.test("use at all hours, in a zone with half an hour, is lines that keep_warm takes, and that leave out no hour", async (t) => {
  const hours = learn(
    generate(NOW, "Asia/Kolkata", () => true),
    { now: NOW, zone: "Asia/Kolkata" },
  ).hours;
  t.ok(
    hours.every((line) => readWarmHours(line)),
    hours.join(),
  );
  const week = Array.from({ length: 7 * 24 * 2 }, (_, half) => NOW + (half * HOUR_MS) / 2);
  t.ok(week.every((at) => warmUntil(hours, at) !== undefined));
});
