import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "../../../lib/clock.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import type { DeployCall, Driver, ResolvedImage } from "../../driver.ts";
import { deploymentOnWire, LINES, type WireLine } from "../wire.ts";
import { toFault } from "./answer-fault.ts";
import type { Deploys } from "./deploys.ts";
import { type Body, imageNamed, parseBody, parseCallId, parseCount, parseHost } from "./parse-request.ts";
import { type DeployRequest, parseSpec, type ServiceNames } from "./parse-spec.ts";
import { clientGone, type Streams } from "./streams.ts";
import { answersInLines, CALL, DEPLOYMENT, DESTROYED, IMAGE, IMAGE_BODY, pathParams, SPEC_BODY } from "./wire-schemas.ts";
import { type Bulkhead, type PullProgress, type Work, workLines } from "./work.ts";

/** The time limit of a response in one piece. The deploy continues. */
const WAIT_MS = 300_000;
/** Unknown names of bodies that are logged. */
const MOST_NAMES = 1_000;

type Path<Last extends string> = { Params: Record<"host" | "service" | Last, string> };

export type DeployRouteDeps = {
  driver: Driver;
  /** The installation's name, in front of what foreign servers name. */
  environment: string;
  apiUrl: string | undefined;
  deploys: Deploys;
  names: ServiceNames;
  validations: Bulkhead;
  streams: Streams;
  clock: Clock;
  log: Log;
};

/** The routes that grok_spawner's clients call. */
export function deployRoutes(app: FastifyInstance, deps: DeployRouteDeps): void {
  const { driver, environment, apiUrl, deploys, names, validations, streams, clock, log } = deps;
  const tags = ["deploy"];
  const logged = new Set<string>();

  app.post<Path<"tag">>(
    "/validate/:host/:service/:tag",
    {
      schema: { tags, summary: "Finds out what an image is", params: pathParams("tag"), body: IMAGE_BODY, response: answersInLines(IMAGE, "image") },
    },
    async (request, reply) => {
      const { host, service, tag } = request.params;
      // Both hosts have the same images.
      parseHost(host);
      const body = bodyOf(request);
      const image = body.image ?? imageNamed(service, tag);
      const leave = validations.enter();
      const gone = clientGone(reply);
      const listeners = new Set<(progress: PullProgress) => void>();
      const call: DeployCall = { signal: gone, onPull: (progress) => listeners.forEach((listener) => listener(progress)) };
      const result = driver.resolve({ ref: image, folder: body.folder }, call).finally(leave);
      // The response may fail first, or its client go away.
      result.then(
        ({ id, exposed }) => log.info({ image, id, exposed }, "image validated"),
        (err: unknown) => log.info({ image, err }, "image validation failed"),
      );
      const onProgress: Work<ResolvedImage>["onProgress"] = (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      };
      return answer(request, reply, { result, onProgress }, (resolved) => ({ image: resolved }), "The image is still being resolved");
    },
  );

  app.post<Path<"n"> & { Querystring: { call?: string } }>(
    "/deploy/:host/:service/:n",
    {
      schema: {
        tags,
        summary: "Deploys a service and waits until it is ready, or with n = 0 destroys it",
        description:
          "The deploy continues when the client goes away. The same request joins the running deploy, or finds the running service. " +
          "A request with another definition replaces it.",
        params: pathParams("n"),
        querystring: { type: "object", properties: { call: CALL } },
        body: SPEC_BODY,
        response: answersInLines({ anyOf: [DEPLOYMENT, DESTROYED] }, "deployment"),
      },
    },
    async (request, reply) => {
      const { service, n } = request.params;
      const host = parseHost(request.params.host);
      const isDeploy = parseCount(n);
      const body = bodyOf(request);
      if (!isDeploy) {
        const serviceName = await names.ofDestroyed(service, clientGone(reply));
        await deploys.destroy(serviceName);
        return { serviceName, isSuccess: true };
      }
      const deploy = parseSpec({ host, service }, body, { environment, apiUrl, healthchecks: driver.healthchecks });
      const work = deploys.deploy(deploy, parseCallId(request.query.call), (call) => carryOut(deploy, call));
      return answer(request, reply, work, (done) => ({ deployment: deploymentOnWire(deploy.service, done) }), `${deploy.service} is not ready yet`);
    },
  );

  /** Resolves a foreign server's image first, as berth's control does before a deploy. */
  async function carryOut(deploy: DeployRequest, call: DeployCall) {
    const { image, folder } = deploy;
    const resolved = deploy.unresolved ? await driver.resolve({ ref: image, folder }, call) : { id: image, exposed: [], command: [] };
    return driver.deploy(deploy.spec(resolved), call);
  }

  function bodyOf(request: FastifyRequest): Body {
    const { body, unknown } = parseBody(request.body);
    const fresh = unknown.filter((name) => !logged.has(name)).slice(0, MOST_NAMES - logged.size);
    for (const name of fresh) logged.add(name);
    if (fresh.length > 0) log.warn({ names: fresh.map((name) => name.slice(0, 100)) }, "unknown names in a request body ignored");
    return body;
  }

  /** In one piece, or in lines if the client accepts them. */
  async function answer<T>(request: FastifyRequest, reply: FastifyReply, work: Work<T>, line: (result: T) => WireLine, waiting: string) {
    if (request.headers.accept?.includes(LINES)) {
      const fault = (error: unknown) => toFault(error, log, { route: request.routeOptions.url });
      return streams.lines(reply, () => workLines(work, { line, fault }));
    }
    const overdue = () => new Fault("START_TIMED_OUT", `${waiting}, ${WAIT_MS / 1_000} s after the request. It continues: ask again.`);
    const result = await withTimeout({ clock, ms: WAIT_MS, overdue, signal: clientGone(reply) }, () => work.result);
    return Object.values(line(result))[0] as object;
  }
}
