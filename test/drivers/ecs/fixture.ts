// Amazon ECS, CloudWatch Logs and ECR as far as moto can, behind a layer that adds what moto lacks: a service's tasks and rollout, IAM, idempotent
// and refused creates, pages. It rejects what the API's own model, IAM with conf/ecs/policy.json, and the API reference reject; it was held against no
// AWS account.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";
import { CloudWatchLogsClient, CreateLogGroupCommand, CreateLogStreamCommand, PutLogEventsCommand } from "@aws-sdk/client-cloudwatch-logs";
import { DescribeSecurityGroupsCommand, DescribeSubnetsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { ECRClient } from "@aws-sdk/client-ecr";
import { CreateClusterCommand, DeleteServiceCommand, ECSClient } from "@aws-sdk/client-ecs";
import type { Test } from "tap";
import { type Clock, systemClock } from "../../../lib/clock.ts";
import { ecsDriver, type EcsOptions } from "../../../drivers/ecs/driver.ts";
import { openEcrApi } from "../../../gateway/registry/upstream/ecr-api.ts";
import { ecrSource, openImageRegistry } from "../../../gateway/registry/upstream/image-registry.ts";
import { openLog, type Log } from "../../../lib/log.ts";
import { htpasswd, LOGIN, openDistribution } from "../../gateway/registry/upstream/distribution.ts";
import { openMoto } from "../../gateway/registry/upstream/moto.ts";
import type { TestImage } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { denied, failure, type EcsResponse, type EcsRequest, type EcsBody, type ForwardToMoto } from "./answer.ts";
import { openApiModel, type ApiName } from "./api-model.ts";
import { CLUSTER, nameOf, openEcsLayer, REGION, type EcsTaskDefinition } from "./ecs-layer.ts";
import { openExecSessions } from "./exec-sessions.ts";
import { type Context, openRole, POLICY, SHELL_POLICY } from "./iam.ts";
import { publish, type PublishedTestImage } from "./images.ts";
import { openScheduler, type TaskFate } from "./scheduler.ts";
import { PATIENCE_MS } from "../../fixtures/eventually.ts";

export { CLUSTER, REGION };
export const EXEC_ROLE = "arn:aws:iam::123456789012:role/tasks";
export const SHELL_ROLE = "arn:aws:iam::123456789012:role/shells";
export const LOG_GROUP = `arn:aws:logs:${REGION}:123456789012:log-group:/ecs/berth`;
const GROUP_NAME = "/ecs/berth";

const APIS: Record<string, ApiName> = {
  AmazonEC2ContainerServiceV20141113: "ecs",
  Logs_20140328: "logs",
  AmazonEC2ContainerRegistry_V20150921: "ecr",
};
const JSON_1_1 = "application/x-amz-json-1.1";
const MAKING = ["RegisterTaskDefinition", "CreateService"];

type DriverOverrides = Partial<EcsOptions> & { log?: Log; clock?: Clock };

/** `forArm`: images that are built for arm64. `answers` stands before everything: undefined lets a question through. `shells`: berth's role has conf/ecs/policy-shell.json too. */
export async function openStand(
  t: Test,
  names: readonly TestImage[],
  options: { restartMs?: number; shells?: boolean; forArm?: readonly TestImage[] } = {},
) {
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
  const images: PublishedTestImage[] = [];
  for (const name of names) {
    const architecture = options.forArm?.includes(name) ? "arm64" : "amd64";
    images.push(await publish(name, { folder, registry: registry.host, ecr: admin.ecr, architecture }));
  }

  const role = openRole(options.shells ? [POLICY, SHELL_POLICY] : [POLICY]);
  const sessions = await openExecSessions(t);
  const models = { ecs: openApiModel("ecs"), logs: openApiModel("logs"), ecr: openApiModel("ecr") };
  const fates = new Map<string, TaskFate>();
  const streams = new Set<string>();
  const requests: EcsRequest[] = [];
  const imageOf = (image: string) => images.find(({ repository, digest }) => image.includes(`/${repository}@${digest}`));
  const scheduler = openScheduler({
    folderOf: (image) => imageOf(image)?.folder,
    architectureOf: (image) => imageOf(image)?.architecture ?? "amd64",
    fateOf: (service) => fates.get(service),
    restartMs: () => stand.restartMs,
    agentMs: () => stand.agentMs,
    stopMs: () => stand.stopMs,
    say: async ({ group, stream }, line) => {
      const to = { logGroupName: group, logStreamName: stream };
      if (!streams.has(stream)) await admin.logs.send(new CreateLogStreamCommand(to));
      streams.add(stream);
      await admin.logs.send(new PutLogEventsCommand({ ...to, logEvents: [{ timestamp: Date.now(), message: line }] }));
    },
  });
  t.teardown(() => scheduler.close());
  const definitionOf = async (taskDefinition: string) => {
    const headers = { "content-type": JSON_1_1, "x-amz-target": "AmazonEC2ContainerServiceV20141113.DescribeTaskDefinition" };
    return (await ask(headers, { taskDefinition })).body["taskDefinition"] as EcsTaskDefinition;
  };
  const layer = openEcsLayer(scheduler, definitionOf, (command, { place, ended }) =>
    sessions.start(command, {
      cwd: place.cwd,
      env: stand.images === "whole" ? place.env : { ...place.env, PATH: dirname(process.execPath) },
      hasShell: stand.images !== "bare",
      ended,
    }),
  );
  const stand = {
    requests,
    restartMs: options.restartMs ?? 3_000,
    stopMs: 0,
    agentMs: 0,
    /** What images have: a shell with its programs, the shell alone, or none. */
    images: "whole" as "whole" | "shell" | "bare",
    sessions,
    ecs: layer,
    answers: (() => undefined) as (request: EcsRequest) => EcsResponse | undefined | Promise<EcsResponse | undefined>,
    /** True where a call is done, but its answer is lost. */
    loses: (() => false) as (request: EcsRequest) => boolean,
    fates,
    services: layer.services,
    scheduler,
    admin,
    role,
    subnets,
    securityGroups,
    registry,
    url: "",
    actions: () => [...new Set(requests.map(({ api, action }) => `${api}:${action}`))].toSorted(),
    tags: (name: TestImage) => images.find((one) => one.name === name) as PublishedTestImage,
    open: (more: DriverOverrides = {}) => openDriver(more),
    /** As a person does it, past the driver. */
    deleteService: async (service: string) => {
      const client = new ECSClient({ region: REGION, endpoint: stand.url, credentials: { accessKeyId: "test", secretAccessKey: "test" } });
      await client.send(new DeleteServiceCommand({ cluster: CLUSTER, service, force: true }));
      client.destroy();
    },
    close: async () => {},
  };

  const deniedBy = ({ api, action, body }: EcsRequest): string | undefined => {
    const tags = (body["tags"] ?? []) as { key: string; value: string }[];
    const held = layer.services.get(nameOf(body["service"]))?.tags ?? [];
    const context: Context = {
      ...Object.fromEntries(tags.map(({ key, value }) => [`aws:RequestTag/${key}`, value])),
      ...Object.fromEntries(held.map(({ key, value }) => [`aws:ResourceTag/${key}`, value])),
    };
    if (action === "ExecuteCommand") return deniedCommand(String(body["task"]));
    const stream = `arn:aws:logs:${REGION}:123456789012:log-group:${String(body["logGroupName"])}:log-stream:${String(body["logStreamName"])}`;
    if (!role.allows(`${api}:${action}`, context, api === "logs" ? stream : "*")) return `${api}:${action}`;
    if (MAKING.includes(action) && tags.length > 0 && !role.allows("ecs:TagResource", { "ecs:CreateAction": action })) return "ecs:TagResource";
    const passes = { "iam:PassedToService": "ecs-tasks.amazonaws.com" };
    const isPassing = body["executionRoleArn"] !== undefined || body["taskRoleArn"] !== undefined;
    return isPassing && !role.allows("iam:PassRole", passes) ? "iam:PassRole" : undefined;
  };
  /** IAM looks at the task, which has its service's tags, and at the cluster. */
  const deniedCommand = (arn: string): string | undefined => {
    const group = scheduler.find(arn)?.task.group ?? "";
    const held = layer.services.get(group.replace(/^service:/, ""))?.tags ?? [];
    const context = Object.fromEntries(held.map(({ key, value }) => [`aws:ResourceTag/${key}`, value]));
    const cluster = `arn:aws:ecs:${REGION}:123456789012:cluster/${CLUSTER}`;
    const allowed = role.allows("ecs:ExecuteCommand", context, arn) && role.allows("ecs:ExecuteCommand", {}, cluster);
    return allowed ? undefined : "ecs:ExecuteCommand";
  };

  /** What moto knows wrongly or not at all, by action. */
  const own: Record<string, (body: EcsBody, pass: ForwardToMoto) => Promise<EcsResponse> | EcsResponse> = {
    ...layer.answers,
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
      for (const one of (answer.body["imageIds"] ?? []) as EcsBody[]) one["imageDigest"] = digest;
      return answer;
    },
  };

  async function ask(headers: Record<string, string>, body: EcsBody): Promise<EcsResponse> {
    const signed = {
      authorization: `AWS4-HMAC-SHA256 Credential=test/20261125/${REGION}/ecs/aws4_request, SignedHeaders=host, Signature=0`,
      ...headers,
    };
    const answer = await fetch(moto, { method: "POST", headers: signed, body: JSON.stringify(body) });
    const responseText = await answer.text();
    try {
      return { status: answer.status, body: JSON.parse(responseText) as EcsBody };
    } catch {
      return failure("ServerException", responseText.slice(0, 300));
    }
  }

  const answerTo = async (question: EcsRequest, headers: IncomingHttpHeaders): Promise<EcsResponse> => {
    const { api, action, body } = question;
    const first = await stand.answers(question);
    if (first) return first;
    const wrong = models[api](action, "input", body);
    if (wrong.length > 0) return failure("InvalidParameterException", wrong.join("; "));
    const not = deniedBy(question);
    if (not !== undefined) return denied(not);
    const passed = {
      "content-type": JSON_1_1,
      "x-amz-target": String(headers["x-amz-target"]),
      authorization: String(headers.authorization),
    };
    const pass: ForwardToMoto = () => ask(passed, body);
    const answer = await (own[`${api}:${action}`]?.(body, pass) ?? pass());
    if (stand.loses(question)) return failure("ServerException", "Service Unavailable. Please try again later.");
    // What is made up here must be such that the real one could say it.
    const made = answer.status === 200 && ["DescribeServices", "DeleteService", "ListTasks", "DescribeTasks", "ExecuteCommand"].includes(action);
    const odd = made ? models[api](action, "output", answer.body) : [];
    if (odd.length > 0) return failure("ServerException", `The stand's own answer is none of the API: ${odd.join("; ")}`);
    return answer;
  };

  const server = createServer(async (incoming, response) => {
    const sent = await text(incoming);
    const [target = "", action = ""] = String(incoming.headers["x-amz-target"] ?? "").split(".");
    const question: EcsRequest = { api: APIS[target] ?? "ecs", action, body: JSON.parse(sent || "{}") as EcsBody };
    requests.push(question);
    const { status, body } = await answerTo(question, incoming.headers).catch((error: unknown) => failure("ServerException", String(error)));
    response.writeHead(status, { "content-type": JSON_1_1, "x-amzn-requestid": randomUUID() }).end(JSON.stringify(body));
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
  const ecr = await ecrSource(await openEcrApi({ region: REGION, clock: tools.clock }), { ...tools, signal: AbortSignal.timeout(PATIENCE_MS) });
  const registries = openImageRegistry([ecr]);
  t.teardown(() => registries.close());
  function openDriver(more: DriverOverrides) {
    const driver = ecsDriver({
      cluster: CLUSTER,
      region: REGION,
      subnets,
      securityGroups,
      execRole: EXEC_ROLE,
      logGroup: LOG_GROUP,
      launchType: undefined,
      reach: "address",
      registry: registries,
      // The tests' registries are on this machine, where those of packages may not be.
      registryHosts: ["127.0.0.1"],
      polling: { start: { first: 20, longest: 80 }, retry: { first: 20, longest: 80 }, events: { first: 50, longest: 100 } },
      rate: { perSecond: 1_000, burst: 1_000 },
      ...tools,
      ...more,
    });
    t.teardown(() => driver.close());
    return driver;
  }
  return stand;
}

export type EcsFixture = Awaited<ReturnType<typeof openStand>>;
