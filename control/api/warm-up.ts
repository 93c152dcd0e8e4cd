import { Fault } from "../../lib/fault.ts";
import { createManageCheck } from "../identity/rights.ts";
import { LEARNED_WEEKS, MOST_MISSES, USUAL_WEEKS } from "../model/usual-hours.ts";
import { readWarmHours, WARM_HOURS_ALLOWED } from "../model/warm-hours.ts";
import { isPaused, isSuggested, isUndecided, type WarmUpAdvice, warmMemoryMb } from "../lifecycle/warm-up.ts";
import { isoDate, requireContainer } from "./entities.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { ID_PARAMS } from "./schemas.ts";
import { SUGGESTIONS, type UsualHoursJson, WARM_UP, WARM_UP_CHOICE, type WarmUpJson } from "./schemas-series.ts";

const MEBIBYTES = 1_024;
const HOUR_MS = 3_600_000;
const LISTED = 20;

/** In which hours a container is usually used, and in which it is kept warm. */
export function warmUpRoutes({ store, lifecycle, warmUps, clock, authorization }: RouteDeps): Route[] {
  const tags = ["docker containers"];
  const { mode, zone } = warmUps.options;

  const show = async (id: string): Promise<WarmUpJson> => {
    const advice = await warmUps.adviceOn(id);
    if (!advice) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
    const { warmUp } = advice.container;
    const isChosen = warmUp !== undefined && !isPaused(advice.container);
    const logins = await store.users.logins([warmUp?.userId]);
    return {
      mode,
      zone,
      chosen: isChosen ? { hours: [...warmUp.hours], by: warmUp.by, login: logins.get(warmUp.userId) ?? null, since: isoDate(warmUp.since) } : null,
      usual: usualHoursToJson(advice),
      isSuggested: mode !== "off" && isSuggested(advice),
      says: describe(advice, mode),
    };
  };

  return [
    route({
      method: "GET",
      path: "/docker/containers/:id/warm-up",
      authorize: "session",
      schema: {
        tags,
        summary: "Returns in which hours of the week a container is usually used, and what it would save and cost to keep it warm then",
        params: ID_PARAMS,
        response: WARM_UP,
      },
      handle: async (request) => show((await requireContainer(store, authorization.caller(request), request.params.id)).id),
    }),
    route({
      method: "PUT",
      path: "/docker/containers/:id/warm-up",
      authorize: "session",
      audit: { action: "warmUpChosen", target: async ({ params: { id } }) => namedTarget((await store.containers.find(id))?.name, id) },
      schema: {
        tags,
        summary: "Sets the hours in which a container is kept warm, beside its keep_warm",
        params: ID_PARAMS,
        body: WARM_UP_CHOICE,
        response: WARM_UP,
      },
      handle: async (request) => {
        const caller = authorization.caller(request);
        const { id } = await requireContainer(store, caller, request.params.id);
        const { hours } = request.body;
        for (const line of hours ?? [])
          if (!readWarmHours(line)) throw new Fault("REQUEST_INVALID", `The hours "${line}" are not valid: give ${WARM_HOURS_ALLOWED}.`);
        const chosen = hours === null ? undefined : ({ hours, by: "user", userId: caller.userId, since: Math.trunc(clock.now()) } as const);
        await lifecycle.setWarmUp(id, chosen, "user");
        return show(id);
      },
    }),
    route({
      method: "GET",
      path: "/docker/suggestions",
      authorize: "session",
      schema: {
        tags,
        summary: "Lists containers that the caller may manage and that are worth keeping warm in their usual hours, those that save most first",
        response: SUGGESTIONS,
      },
      handle: async (request) => {
        const mayManage = createManageCheck(store, authorization.caller(request));
        const listed = [];
        for (const advice of warmUps.suggestions()) {
          if (listed.length === LISTED) break;
          // Since the last hour, a user may have decided, or removed it.
          const [now] = await store.containers.toWarm([advice.container.id]);
          if (!now || !isUndecided(now) || !(await mayManage(now.packageId))) continue;
          listed.push({ id: now.id, name: now.name, usual: usualHoursToJson(advice), says: describe(advice, mode) });
        }
        return listed;
      },
    }),
  ];
}

function usualHoursToJson({ container, learned }: WarmUpAdvice): UsualHoursJson {
  const hours = learned.extraMs / HOUR_MS;
  return {
    hours: learned.hours,
    weeks: LEARNED_WEEKS,
    starts: learned.starts,
    waitSeconds: rounded(learned.waitMs / 1_000),
    extraHours: rounded(hours),
    memoryHours: rounded((hours * warmMemoryMb(container)) / MEBIBYTES),
    misses: learned.misses,
  };
}

/** For a reader who decides. */
function describe(advice: WarmUpAdvice, mode: string): string {
  const { container, learned } = advice;
  const usual = usualHoursToJson(advice);
  if (mode === "off") return "BERTH_WARM_UP is off: berth learns no usual hours.";
  if (learned.hours.length === 0)
    return `No hour of the week is usual: it was not used in any in at least ${USUAL_WEEKS} of the last ${LEARNED_WEEKS} weeks.`;
  const used = `It was used on ${learned.hours.join(", and on ")} in at least ${USUAL_WEEKS} of the last ${LEARNED_WEEKS} weeks.`;
  if (container.warmUp !== undefined && container.warmUp.hours.length > 0) {
    const missed =
      learned.misses === 0 ? "" : ` Its last ${learned.misses === 1 ? "usual period" : `${learned.misses} usual periods`} passed without use.`;
    return `${used}${missed}`;
  }
  const pause = mode === "auto" && isPaused(container) ? pauseText(advice) : undefined;
  if (pause !== undefined) return `${used} BERTH_WARM_UP=auto does not keep it warm now: ${pause}.`;
  const starts = `${usual.starts} ${usual.starts === 1 ? "cold start" : "cold starts"}`;
  return `${used} Kept warm then, it would have saved ${starts} (requests waited ${Math.round(usual.waitSeconds)} s), and run ${hoursText(usual.extraHours)} longer (${shortNumber(usual.memoryHours)} GiB-hours of memory) in these weeks.`;
}

function pauseText({ container, learned }: WarmUpAdvice): string {
  if (container.state === "ERROR") return "its last start failed, until a request has started it again";
  if (learned.misses >= MOST_MISSES) return `its last ${learned.misses} usual periods passed without use, until it is used in one again`;
  return "others fill the places or the memory, or the next hour has not begun";
}

function hoursText(hours: number): string {
  const value = shortNumber(hours);
  return `${value} ${value === 1 ? "hour" : "hours"}`;
}

function shortNumber(value: number): number {
  return value < 10 ? Math.round(value * 10) / 10 : Math.round(value);
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
