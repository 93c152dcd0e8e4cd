// Amazon ECS, CloudWatch Logs and ECR as far as moto can, behind a layer that adds what moto lacks: a service's tasks and rollout, IAM, idempotent
// and refused creates, pages. It rejects what the API's own model, IAM with conf/ecs/policy.json, and the API reference reject; it was held against no
// AWS account.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { CloudWatchLogsClient, CreateLogGroupCommand, CreateLogStreamCommand, PutLogEventsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { DescribeSecurityGroupsCommand, DescribeSubnetsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { ECRClient } from "@aws-sdk/client-ecr";
import { CreateClusterCommand, ECSClient } from "@aws-sdk/client-ecs";
import type { Test } from "tap";
import { systemClock } from "../../../clock.ts";
import { ecsDriver, type EcsOptions } from "../../../drivers/ecs/driver.ts";
import { openEcrApi } from "../../../gateway/registry/upstream/ecr-api.ts";
import { ecrSource } from "../../../gateway/registry/upstream/image-sources.ts";
import { openImageRegistry } from "../../../gateway/registry/upstream/open-image-registry.ts";
import { openLog, type Log } from "../../../log.ts";
import { htpasswd, LOGIN, openDistribution } from "../../registry/upstream/distribution.ts";
import { openMoto } from "../../registry/upstream/moto.ts";
import type { TestImage } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openApiModel, type ApiName } from "./api-model.ts";
import { refusal } from "./fargate-rules.ts";
import { openRole, type Context } from "./iam.ts";
import { publish, type Published } from "./images.ts";
import { openScheduler, type Fate, type Scheduled } from "./scheduler.ts";

export const REGION = "eu-west-1";
export const CLUSTER = "berth";
export const EXEC_ROLE = "arn:aws:iam::123456789012:role/tasks";
export const LOG_GROUP = `arn:aws:logs:${REGION}:123456789012:log-group:/ecs/berth`;
const GROUP_NAME = "/ecs/berth";

type Body = Record<string, unknown>;
export type Asked = { api: ApiName; action: string; body: Body };
export type Answer = { status: number; body: Body };

export const failure = (type: string, message: string): Answer => ({ status: 400, body: { __type: type, message } });
export const denied = (action: string): Answer =>
  failure(
    "AccessDeniedException",
    `User: arn:aws:sts::123456789012:assumed-role/berth/i-1 is not authorized to perform: ${action} because no identity-based policy allows the ${action} action`,
  );
export const throttled: Answer = failure("ThrottlingException", "Rate exceeded");

const APIS: Record<string, ApiName> = {
  AmazonEC2ContainerServiceV20141113: "ecs",
  Logs_20140328: "logs",
  AmazonEC2ContainerRegistry_V20150921: "ecr",
};
const MAKING = ["RegisterTaskDefinition", "CreateService"];

type Kept = Scheduled & { status: "ACTIVE" | "DRAINING" | "INACTIVE"; tags: { key: string; value: string }[]; token: string; sent: string };

/** `answers` stands before everything: undefined lets a question through. */
export async function openStand(t: Test, names: readonly TestImage[], options: { restartMs?: number } = {}) {
  const before = { ...process.env };
  t.teardown(() => Object.assign(process.env, before));
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" });
  const moto = `http://127.0.0.1:${await openMoto(t)}`;
  const at = { region: REGION, endpoint: moto, credentials: { accessKeyId: "admin", secretAccessKey: "admin" } };
  const admin = { ecs: new ECSClient(at), logs: new CloudWatchLogsClient(at), ec2: new EC2Client(at), ecr: new ECRClient(at) };
  t.teardown(() => Object.values(admin).forEach((client) => client.destroy()));
  await admin.ecs.send(new CreateClusterCommand({ clusterName: CLUSTER }));
  await admin.logs.send(new CreateLogGroupCommand({ logGroupName: GROUP_NAME }));
  const subnets = ((await admin.ec2.send(new DescribeSubnetsCommand({}))).Subnets ?? []).flatMap(({ SubnetId }) => SubnetId ?? []).slice(0, 2);
  const groups = await admin.ec2.send(new DescribeSecurityGroupsCommand({}));
  const securityGroups = (groups.SecurityGroups ?? []).flatMap(({ GroupId }) => GroupId ?? []).slice(0, 1);

  const registry = await openDistribution(t, htpasswd);
  const folder = tempFolder(t);
  const images: Published[] = [];
  for (const name of names) images.push(await publish(name, { folder, registry: registry.host, ecr: admin.ecr }));

  const role = openRole();
  const models = { ecs: openApiModel("ecs"), logs: openApiModel("logs"), ecr: openApiModel("ecr") };
  const services = new Map<string, Kept>();
  const former: Kept[] = [];
  const inactive = new Set<string>();
  const fates = new Map<string, Fate>();
  const unseen = new Map<string, number>();
  const streams = new Set<string>();
  const asked: Asked[] = [];
  const scheduler = openScheduler({
    folderOf: (image) => images.find(({ repository, digest }) => image.includes(`/${repository}@${digest}`))?.folder,
    fateOf: (service) => fates.get(service),
    restartMs: () => stand.restartMs,
    say: async ({ group, stream }, line) => {
      const to = { logGroupName: group, logStreamName: stream };
      if (!streams.has(stream)) await admin.logs.send(new CreateLogStreamCommand(to));
      streams.add(stream);
      await admin.logs.send(new PutLogEventsCommand({ ...to, logEvents: [{ timestamp: Date.now(), message: line }] }));
    },
  });
  t.teardown(() => scheduler.close());
  const stand = {
    asked,
    restartMs: options.restartMs ?? 3_000,
    /** How many a page of a list holds. */
    pageSize: 100,
    answers: (() => undefined) as (asked: Asked) => Answer | undefined,
    fates,
    /** How many looks do not see a service yet. */
    unseen,
    services,
    /** Those of names that others have now. */
    former,
    scheduler,
    admin,
    role,
    subnets,
    securityGroups,
    registry,
    url: "",
    actions: () => [...new Set(asked.map(({ api, action }) => `${api}:${action}`))].toSorted(),
    tags: (name: TestImage) => images.find((one) => one.name === name) as Published,
    open: (more: Partial<EcsOptions> & { log?: Log } = {}) => openDriver(more),
    close: async () => {},
  };

  const inForce = (kept: Kept | undefined) => {
    if (kept?.status === "DRAINING" && scheduler.isDrained(kept)) kept.status = "INACTIVE";
    return kept !== undefined && kept.status !== "INACTIVE" ? kept : undefined;
  };
  const nameOf = (service: unknown) => String(service).split("/").at(-1) ?? "";
  const page = (key: string, items: string[], body: Body): Answer => {
    const from = Number(body["nextToken"] ?? 0);
    const size = Math.min(Number(body["maxResults"] ?? 100), stand.pageSize);
    const nextToken = from + size < items.length ? { nextToken: String(from + size) } : {};
    return { status: 200, body: { [key]: items.slice(from, from + size), ...nextToken } };
  };

  const deniedBy = ({ api, action, body }: Asked): string | undefined => {
    const tags = (body["tags"] ?? []) as { key: string; value: string }[];
    const held = services.get(nameOf(body["service"]))?.tags ?? [];
    const context: Context = {
      ...Object.fromEntries(tags.map(({ key, value }) => [`aws:RequestTag/${key}`, value])),
      ...Object.fromEntries(held.map(({ key, value }) => [`aws:ResourceTag/${key}`, value])),
    };
    const stream = `arn:aws:logs:${REGION}:123456789012:log-group:${String(body["logGroupName"])}:log-stream:${String(body["logStreamName"])}`;
    if (!role.allows(`${api}:${action}`, context, api === "logs" ? stream : "*")) return `${api}:${action}`;
    if (MAKING.includes(action) && tags.length > 0 && !role.allows("ecs:TagResource", { "ecs:CreateAction": action })) return "ecs:TagResource";
    const passes = { "iam:PassedToService": "ecs-tasks.amazonaws.com" };
    return body["executionRoleArn"] !== undefined && !role.allows("iam:PassRole", passes) ? "iam:PassRole" : undefined;
  };

  type Pass = (body?: Body) => Promise<Answer>;
  let creating: Promise<unknown> = Promise.resolve();
  async function create(body: Body, pass: Pass): Promise<Answer> {
    const name = String(body["serviceName"]);
    const sent = JSON.stringify(body);
    const held = inForce(services.get(name));
    if (held?.status === "DRAINING") return failure("InvalidParameterException", "Unable to Start a service that is still Draining.");
    if (held && (held.token !== body["clientToken"] || held.sent !== sent))
      return failure("InvalidParameterException", "Creation of service was not idempotent.");
    const arn = String(body["taskDefinition"]);
    if (inactive.has(arn)) return failure("ClientException", "TaskDefinition is inactive");
    if (body["networkConfiguration"] === undefined)
      return failure("InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified.");
    const definitions = await describeDefinition(arn);
    if (!definitions.requiresCompatibilities.includes(String(body["launchType"])))
      return failure("InvalidParameterException", `Task definition does not support launch_type ${String(body["launchType"])}.`);
    const answer = await pass();
    if (answer.status !== 200 || held) return answer;
    const [container] = definitions.containerDefinitions;
    const log = container?.logConfiguration?.options;
    const kept: Kept = {
      name,
      clusterArn: `arn:aws:ecs:${REGION}:123456789012:cluster/${CLUSTER}`,
      definition: {
        arn,
        environment: container?.environment ?? [],
        container: container?.name ?? "",
        image: container?.image ?? "",
        log: log && { group: log["awslogs-group"] ?? "", prefix: log["awslogs-stream-prefix"] ?? "" },
      },
      deployment: `ecs-svc/${String(Math.floor(Math.random() * 1e18))}`,
      launchType: String(body["launchType"]),
      createdAt: Date.now() / 1_000,
      events: [],
      rolloutState: "IN_PROGRESS",
      rolloutStateReason: "ECS deployment in progress.",
      failedTasks: 0,
      desired: 1,
      everRan: false,
      status: "ACTIVE",
      tags: body["tags"] as Kept["tags"],
      token: String(body["clientToken"]),
      sent,
    };
    former.push(...[services.get(name)].filter((one) => one !== undefined));
    services.set(name, kept);
    scheduler.start(kept);
    return answer;
  }

  /** What moto knows wrongly or not at all, by action. */
  const own: Record<string, (body: Body, pass: Pass) => Promise<Answer> | Answer> = {
    "ecs:RegisterTaskDefinition": (body, pass) => {
      const refused = refusal(body as Parameters<typeof refusal>[0]);
      return refused === undefined ? pass() : failure("ClientException", refused);
    },
    "ecs:DeregisterTaskDefinition": async (body, pass) => {
      const answer = await pass();
      if (answer.status === 200) inactive.add(String(body["taskDefinition"]));
      return answer;
    },
    "ecs:ListTaskDefinitions": async (body, pass) => {
      const all = ((await pass()).body["taskDefinitionArns"] as string[]).filter(
        (arn) => (body["status"] ?? "ACTIVE") !== "ACTIVE" || !inactive.has(arn),
      );
      return page("taskDefinitionArns", all, body);
    },
    // One after the other: of two at once, one is the first.
    "ecs:CreateService": (body, pass) => {
      const created = creating.catch(() => {}).then(async () => create(body, pass));
      creating = created;
      return created;
    },
    "ecs:DeleteService": async (body, pass) => {
      const held = inForce(services.get(nameOf(body["service"])));
      if (!held) return failure("ServiceNotFoundException", "Service not found.");
      const answer = await pass();
      if (answer.status !== 200) return answer;
      held.status = "DRAINING";
      scheduler.end(held);
      const { serviceArn, serviceName, clusterArn } = answer.body["service"] as Body;
      return {
        status: 200,
        body: { service: { serviceArn, serviceName, clusterArn, status: held.status, desiredCount: 0, createdAt: held.createdAt } },
      };
    },
    "ecs:ListServices": async (body, pass) => {
      const all = ((await pass()).body["serviceArns"] as string[]).filter((arn) => inForce(services.get(nameOf(arn))));
      return page("serviceArns", all, body);
    },
    "ecs:DescribeServices": async (body, pass) => {
      if ((body["services"] as string[]).length > 10) return failure("InvalidParameterException", "Services cannot be more than 10.");
      const answer = await pass();
      const described: Body[] = [];
      const failures = answer.body["failures"] as Body[];
      for (const one of (answer.body["services"] ?? []) as Body[]) {
        const kept = services.get(String(one["serviceName"]));
        const left = unseen.get(kept?.name ?? "") ?? 0;
        if (!kept || left > 0) {
          if (kept) unseen.set(kept.name, left - 1);
          failures.push({ arn: one["serviceArn"], reason: "MISSING" });
          continue;
        }
        inForce(kept);
        const tasks = scheduler.tasks().filter(({ startedBy }) => startedBy === kept.deployment);
        const count = (status: string) => tasks.filter(({ lastStatus }) => lastStatus === status).length;
        const deployment = {
          id: kept.deployment,
          status: "PRIMARY",
          taskDefinition: kept.definition.arn,
          desiredCount: kept.desired,
          pendingCount: count("PENDING"),
          runningCount: count("RUNNING"),
          failedTasks: kept.failedTasks,
          createdAt: kept.createdAt,
          launchType: kept.launchType,
          rolloutState: kept.rolloutState,
          rolloutStateReason: kept.rolloutStateReason,
        };
        // Only of moto's what the API has, too.
        const { serviceArn, serviceName, clusterArn, taskDefinition, tags } = one;
        described.push({
          serviceArn,
          serviceName,
          clusterArn,
          taskDefinition,
          status: kept.status,
          desiredCount: kept.desired,
          createdAt: kept.createdAt,
          // With a service, its tags go.
          ...(tags === undefined || kept.status === "INACTIVE" ? {} : { tags }),
          deployments: kept.status === "INACTIVE" ? [] : [deployment],
          events: kept.events,
        });
      }
      return { status: 200, body: { services: described, failures } };
    },
    "ecs:ListTasks": (body) => {
      const of = body["serviceName"];
      if (of !== undefined && !inForce(services.get(nameOf(of)))) return failure("ServiceNotFoundException", "Service not found.");
      const wanted = body["desiredStatus"] ?? "RUNNING";
      const found = scheduler.tasks().filter((task) => task.desiredStatus === wanted && (of === undefined || task.group === `service:${nameOf(of)}`));
      return page(
        "taskArns",
        found.map(({ taskArn }) => taskArn),
        body,
      );
    },
    "ecs:DescribeTasks": (body) => {
      const wanted = body["tasks"] as string[];
      if (wanted.length === 0 || wanted.length > 100) return failure("InvalidParameterException", "Tasks must be 1 to 100.");
      const found = scheduler.tasks().filter(({ taskArn }) => wanted.includes(taskArn));
      const failures = wanted.filter((arn) => !found.some(({ taskArn }) => taskArn === arn)).map((arn) => ({ arn, reason: "MISSING" }));
      return { status: 200, body: { tasks: found, failures } };
    },
    "ecs:DescribeContainerInstances": async (_, pass) => {
      const answer = await pass();
      // The agent of an instance sets it, which moto has none of.
      for (const one of (answer.body["containerInstances"] ?? []) as { attributes: Body[] }[])
        one.attributes.push({ name: "ecs.capability.task-eni" });
      return answer;
    },
    // moto's token opens nothing and ran out in 2015.
    "ecr:GetAuthorizationToken": () => ({
      status: 200,
      body: {
        authorizationData: [
          {
            authorizationToken: Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString("base64"),
            expiresAt: Date.now() / 1_000 + 12 * 3_600,
            proxyEndpoint: `http://${registry.host}`,
          },
        ],
      },
    }),
    // moto makes digests up.
    "ecr:ListImages": async (body, pass) => {
      const answer = await pass();
      const digest = images.find(({ repository }) => repository === body["repositoryName"])?.digest;
      for (const one of (answer.body["imageIds"] ?? []) as Body[]) one["imageDigest"] = digest;
      return answer;
    },
  };

  async function describeDefinition(arn: string) {
    const headers = { "content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonEC2ContainerServiceV20141113.DescribeTaskDefinition" };
    const answer = await ask(headers, { taskDefinition: arn });
    return answer.body["taskDefinition"] as {
      requiresCompatibilities: string[];
      containerDefinitions: {
        name: string;
        image: string;
        environment: { name: string; value: string }[];
        logConfiguration?: { options: Record<string, string> };
      }[];
    };
  }

  async function ask(headers: Record<string, string>, body: Body): Promise<Answer> {
    const signed = {
      authorization: `AWS4-HMAC-SHA256 Credential=test/20261125/${REGION}/ecs/aws4_request, SignedHeaders=host, Signature=0`,
      ...headers,
    };
    const answer = await fetch(moto, { method: "POST", headers: signed, body: JSON.stringify(body) });
    const said = await answer.text();
    try {
      return { status: answer.status, body: JSON.parse(said) as Body };
    } catch {
      return failure("ServerException", said.slice(0, 300));
    }
  }

  const answerTo = async (question: Asked, headers: IncomingHttpHeaders): Promise<Answer> => {
    const { api, action, body } = question;
    const first = stand.answers(question);
    if (first) return first;
    const wrong = models[api](action, "input", body);
    if (wrong.length > 0) return failure("InvalidParameterException", wrong.join("; "));
    const not = deniedBy(question);
    if (not !== undefined) return denied(not);
    const passed = {
      "content-type": "application/x-amz-json-1.1",
      "x-amz-target": String(headers["x-amz-target"]),
      authorization: String(headers.authorization),
    };
    const pass: Pass = (instead = body) => ask(passed, instead);
    const answer = await (own[`${api}:${action}`]?.(body, pass) ?? pass());
    // What is made up here must be such that the real one could say it.
    const made = answer.status === 200 && ["DescribeServices", "DeleteService", "ListTasks", "DescribeTasks"].includes(action);
    const odd = made ? models[api](action, "output", answer.body) : [];
    if (odd.length > 0) return failure("ServerException", `The stand's own answer is none of the API: ${odd.join("; ")}`);
    return answer;
  };

  const server = createServer(async (incoming, response) => {
    const sent = await text(incoming);
    const [target = "", action = ""] = String(incoming.headers["x-amz-target"] ?? "").split(".");
    const question: Asked = { api: APIS[target] ?? "ecs", action, body: JSON.parse(sent || "{}") as Body };
    asked.push(question);
    const { status, body } = await answerTo(question, incoming.headers).catch((error: unknown) => failure("ServerException", String(error)));
    response.writeHead(status, { "content-type": "application/x-amz-json-1.1", "x-amzn-requestid": randomUUID() }).end(JSON.stringify(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stand.close = async () => {
    server.closeAllConnections();
    server.close();
  };
  t.teardown(() => stand.close());
  stand.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  // As an operator of a test stand would; the clients read it themselves.
  process.env["AWS_ENDPOINT_URL"] = stand.url;

  const tools = { clock: systemClock(), log: openLog({ level: "silent", name: "test" }) };
  const ecr = await ecrSource(await openEcrApi({ region: REGION, clock: tools.clock }), { ...tools, signal: AbortSignal.timeout(30_000) });
  const known = openImageRegistry([ecr]);
  t.teardown(() => known.close());
  function openDriver(more: Partial<EcsOptions> & { log?: Log }) {
    const driver = ecsDriver({
      cluster: CLUSTER,
      region: REGION,
      subnets,
      securityGroups,
      execRole: EXEC_ROLE,
      logGroup: LOG_GROUP,
      launchType: undefined,
      reach: "address",
      registry: known,
      looks: { start: { first: 20, longest: 80 }, retry: { first: 20, longest: 80 }, events: { first: 50, longest: 100 } },
      rate: { perSecond: 1_000, burst: 1_000 },
      ...tools,
      ...more,
    });
    t.teardown(() => driver.close());
    return driver;
  }
  return stand;
}

export type Stand = Awaited<ReturnType<typeof openStand>>;
