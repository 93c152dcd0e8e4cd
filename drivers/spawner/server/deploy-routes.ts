import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../../lib/clock.ts";
import type { Log } from "../../../lib/log.ts";
import type { DeployCall, Driver, ResolvedImage } from "../../driver.ts";
import { deploymentOnWire, LINES, type WireLine } from "../wire.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import { toFault } from "./answer-fault.ts";
import type { Deploys } from "./deploys.ts";
import { clientGone, type Streams } from "./streams.ts";
import { parseBody, type Body, imageNamed, parseCallId, readCount, parseHost } from "./parse-request.ts";
import { foreignLabels, parseSpec, type DeployRequest, foreignName } from "./parse-spec.ts";
import { answersInLines, CALL, DEPLOYMENT, DESTROYED, IMAGE, IMAGE_BODY, pathParams, SPEC_BODY } from "./wire-schemas.ts";
import { type Bulkhead, type PullProgress, type Work, workLines } from "./work.ts";

/** How long a client waits whose answer comes in one piece; the deploy goes on. */
const WAIT_MS = 300_000;
/** Names that were passed over, of which more are not remembered. */
const MOST_NAMES = 1_000;

type Path<Last extends string> = { Params: Record<"host" | "service" | Last, string> };

export type DeployRouteDeps = {
  driver: Driver;
  /** The installation's name, in front of what foreign servers name. */
  environment: string;
  deploys: Deploys;
  validations: Bulkhead;
  streams: Streams;
  clock: Clock;
  log: Log;
};

/** The routes that grok_spawner's clients call. */
export function deployRoutes(app: FastifyInstance, deps: DeployRouteDeps): void {
  const { driver, environment, deploys, validations, streams, clock, log } = deps;
  const tags = ["deploy"];
  const told = new Set<string>();

  app.post<Path<"tag">>(
    "/validate/:host/:service/:tag",
    {
      schema: { tags, summary: "Finds out what an image is", params: pathParams("tag"), body: IMAGE_BODY, response: answersInLines(IMAGE, "image") },
    },
    async (request, reply) => {
      const { host, service, tag } = request.params;
      // Images are the same on both.
      parseHost(host);
      const body = bodyOf(request);
      const image = body.image ?? imageNamed(service, tag);
      const leave = validations.enter();
      const gone = clientGone(reply);
      const listeners = new Set<(progress: PullProgress) => void>();
      const call: DeployCall = { signal: gone, onPull: (progress) => listeners.forEach((tell) => tell(progress)) };
      const result = driver.resolve({ ref: image, folder: body.folder }, call).finally(leave);
      // Who waits for it may be refused first, or go away.
      result.catch(() => undefined);
      const hear: Work<ResolvedImage>["hear"] = (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      };
      return answer(request, reply, { result, hear }, (resolved) => ({ image: resolved }), "The image is still being looked at");
    },
  );

  app.post<Path<"n"> & { Querystring: { call?: string } }>(
    "/deploy/:host/:service/:n",
    {
      schema: {
        tags,
        summary: "Deploys a service and waits until it is ready, or with n = 0 destroys it",
        description:
          "Who goes away before the answer undoes nothing: the same asked again joins what is under way, or finds what runs. " +
          "Another definition takes its place.",
        params: pathParams("n"),
        querystring: { type: "object", properties: { call: CALL } },
        body: SPEC_BODY,
        response: answersInLines({ anyOf: [DEPLOYMENT, DESTROYED] }, "deployment"),
      },
    },
    async (request, reply) => {
      const { service, n } = request.params;
      const host = parseHost(request.params.host);
      const wanted = readCount(n);
      const body = bodyOf(request);
      if (!wanted) {
        const serviceName = await existingName(service, clientGone(reply));
        await deploys.destroy(serviceName);
        return { serviceName, isSuccess: true };
      }
      const wish = parseSpec({ host, service }, body, environment);
      const work = deploys.deploy(wish, parseCallId(request.query.call), (call) => carryOut(wish, call));
      return answer(request, reply, work, (done) => ({ deployment: deploymentOnWire(wish.service, done) }), `${wish.service} is not ready yet`);
    },
  );

  /** A foreign server's image is looked up first, as berth's control does before it deploys. */
  async function carryOut(wish: DeployRequest, call: DeployCall) {
    const { image, folder } = wish;
    const resolved = wish.unresolved ? await driver.resolve({ ref: image, folder }, call) : { id: image, exposed: [] };
    return driver.deploy(wish.spec(resolved), call);
  }

  /** A foreign server says the name that it knows; what it deployed under that has another here. */
  async function existingName(service: string, signal: AbortSignal): Promise<string> {
    const name = foreignName(environment, service);
    if (name === service) return service;
    const labels = (await driver.inspect(name, { signal }))?.labels;
    const own = foreignLabels(environment, name);
    const isForeign = labels?.store === own.store && labels.container === own.container;
    return isForeign || !/^[a-z0-9-]{1,63}$/.test(service) ? name : service;
  }

  function bodyOf(request: FastifyRequest): Body {
    const { body, unknown } = parseBody(request.body);
    const fresh = unknown.filter((name) => !told.has(name)).slice(0, MOST_NAMES - told.size);
    for (const name of fresh) told.add(name);
    if (fresh.length > 0)
      log.warn({ names: fresh.map((name) => name.slice(0, 100)) }, "A body has names that mean nothing here; they are passed over.");
    return body;
  }

  /** In one piece, or line by line for who asks for that. */
  async function answer<T>(request: FastifyRequest, reply: FastifyReply, work: Work<T>, line: (result: T) => WireLine, waiting: string) {
    if (request.headers.accept?.includes(LINES)) {
      const fault = (error: unknown) => toFault(error, log, { route: request.routeOptions.url });
      return streams.lines(reply, () => workLines(work, { line, fault }));
    }
    const overdue = () => new Fault("START_TIMED_OUT", `${waiting}, ${WAIT_MS / 1_000} s after it was asked for; it goes on: ask again.`);
    const result = await withTimeout({ clock, ms: WAIT_MS, overdue, signal: clientGone(reply) }, () => work.result);
    return Object.values(line(result))[0] as object;
  }
}
