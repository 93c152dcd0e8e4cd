import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CreateSecurityGroupCommand, DescribeSecurityGroupsCommand } from "@aws-sdk/client-ec2";
import {
  CreateListenerCommand,
  CreateLoadBalancerCommand,
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  DescribeRulesCommand,
  ModifyLoadBalancerAttributesCommand,
} from "@aws-sdk/client-elastic-load-balancing-v2";
import { UploadServerCertificateCommand } from "@aws-sdk/client-iam";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { readSettings } from "../../conf/read-settings.ts";
import { rowsOf } from "../../conf/row.ts";
import { SETTINGS, type Settings } from "../../conf/settings.ts";
import { openUpstream } from "../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../lib/log.ts";
import { configuredControlLink } from "../../processes/control-link.ts";
import { ecsOptions, configuredDriver } from "../../processes/open-driver.ts";
import { openRole, POLICY } from "../drivers/ecs/iam.ts";
import { denied, openEcr } from "../gateway/registry/upstream/moto.ts";
import { unspecified } from "./specification.ts";
import { applyConditions, createStack, openAccount, readTemplate, REGION, type Account, type Statement } from "./stack.ts";
import { PATIENCE_MS } from "../fixtures/eventually.ts";

const ACCOUNT = "123456789012";
const IDLE_SECONDS = 300;
const template = readTemplate();
const account = await openAccount(t);
/** What is in the account before each stack. moto leaves rules of deleted stacks there. */
const listeners = { server: await existingListener(account, "server"), database: await existingListener(account, "database") };
const databaseGroup = await createGroup(account);
/** What Debian's moto makes nothing of. */
const UNKNOWN_TO_MOTO = new Set([
  "AWS::SecretsManager::Secret",
  "AWS::ApplicationAutoScaling::ScalableTarget",
  "AWS::ApplicationAutoScaling::ScalingPolicy",
  "AWS::ServiceDiscovery::PrivateDnsNamespace",
  "AWS::ServiceDiscovery::Service",
]);

const secretArn = (name: string) => `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:${name}-AbCdEf`;

/** Which of the resources that hang on a condition are there: those of `on`. */
const STACKS: Record<string, { parameters: (account: Account) => Promise<Record<string, string>>; on: string[]; services: string[] }> = {
  "a stand of its own": {
    parameters: async ({ aws, subnets }) => {
      const sent = { ServerCertificateName: "stand", CertificateBody: "x", PrivateKey: "x" };
      const { ServerCertificateMetadata } = await aws.iam.send(new UploadServerCertificateCommand(sent));
      return {
        DatagrokArnSSLCertificate: ServerCertificateMetadata?.Arn ?? "",
        DatagrokPublicSubnet1: subnets[0],
        DatagrokPublicSubnet2: subnets[1],
      };
    },
    on: ["HasBerth", "HasStore", "HasRegistryProxy", "MakesListener", "IsPublic", "MakesApiKey"],
    services: ["BerthControlService", "BerthGatewayService", "GrokRegistryProxyService", "GrokSpawnerService"],
  },
  "a stand of its own on a database, without a registry proxy": {
    parameters: async ({ group }) => ({
      EnableRegistryProxy: "false",
      DatabaseUrlSecretArn: secretArn("database-url"),
      DatabaseCaSecretArn: secretArn("database-ca"),
      DatabaseSecurityGroup: databaseGroup,
      ListenerSecurityGroup: group,
      HttpsListenerArn: listeners.database,
    }),
    on: ["HasBerth", "HasDatabase", "HasDatabaseCa", "OpensDatabase", "IsPublic", "MakesApiKey"],
    services: ["BerthControlService", "BerthGatewayService", "GrokSpawnerService"],
  },
  "beside a Datagrok server": {
    parameters: async ({ group }) => ({
      EnableBerth: "false",
      DatagrokUrl: "http://datagrok.internal:8080/api",
      CallersSecurityGroup: group,
      ApiKeySecretArn: secretArn("key"),
      ListenerSecurityGroup: group,
      HttpsListenerArn: listeners.server,
    }),
    on: ["HasCallers", "HasRegistryProxy", "IsCallerOfProxy", "IsPublic"],
    services: ["GrokRegistryProxyService", "GrokSpawnerService"],
  },
  "a spawner and no more": {
    parameters: async () => ({ EnableBerth: "false", EnableRegistryProxy: "false", DatagrokUrl: "https://datagrok.example/api" }),
    on: ["MakesApiKey"],
    services: ["GrokSpawnerService"],
  },
};

async function createGroup({ aws, vpc }: Account): Promise<string> {
  const { GroupId = "" } = await aws.ec2.send(new CreateSecurityGroupCommand({ GroupName: "database", Description: "database", VpcId: vpc }));
  return GroupId;
}

async function existingListener({ aws, subnets }: Account, name: string): Promise<string> {
  const { LoadBalancers } = await aws.elb.send(new CreateLoadBalancerCommand({ Name: name, Subnets: [...subnets] }));
  const DefaultActions = [{ Type: "fixed-response" as const, FixedResponseConfig: { StatusCode: "404" } }];
  const wanted = { LoadBalancerArn: LoadBalancers?.[0]?.LoadBalancerArn, Port: 80, Protocol: "HTTP" as const, DefaultActions };
  const { Listeners } = await aws.elb.send(new CreateListenerCommand(wanted));
  return Listeners?.[0]?.ListenerArn ?? "";
}

/** What a task's secrets stand for: berth reads them as well. */
const SECRETS: Record<string, string> = {
  BERTH_CREDENTIALS_KEY: "0".repeat(64),
  BERTH_CONTROL_TOKEN: "1".repeat(64),
  BERTH_DATABASE_URL: "postgres://berth:secret@database.internal:5432/berth",
  BERTH_DATABASE_CA: "-----BEGIN CERTIFICATE-----",
};
const secretNames = new Set([...rowsOf(SETTINGS)].flatMap(([, row]) => (row.secret === true ? row.env : [])));
type RoleProperties = {
  ManagedPolicyArns?: object[];
  Policies?: { PolicyDocument: { Statement: Statement[] } }[];
  PolicyDocument?: { Statement: Statement[] };
};
/** What ECS calls with the role that starts a task: AmazonECSTaskExecutionRolePolicy has the same, for all resources. */
const TASK_START_ACTIONS = [
  "ecr:BatchCheckLayerAvailability",
  "ecr:BatchGetImage",
  "ecr:GetAuthorizationToken",
  "ecr:GetDownloadUrlForLayer",
  "logs:CreateLogStream",
  "logs:PutLogEvents",
];
const isAlone = ({ role, database }: Settings) => role === "spawner" || (role === "control" && database.url === undefined);
const portOf = ({ role, edgePort, gateways, spawnerPort, registryPort }: Settings) =>
  ({ gateway: edgePort, control: gateways.port, spawner: spawnerPort, "registry-proxy": registryPort })[String(role)];

for (const [name, { parameters, on, services }] of Object.entries(STACKS)) {
  t.test(`the stack, ${name}`, async (t) => {
    const { aws } = account;
    const stack = await createStack(account, "stand", await parameters(account));
    const tasks = await Promise.all(services.map((service) => stack.service(service, on)));

    await t.test("has what its parameters ask for, and nothing else", (t) => {
      const wanted = Object.entries(template.Resources).filter(([, { Condition: condition }]) => condition === undefined || on.includes(condition));
      t.strictSame(
        Object.keys(stack.made)
          .filter((id) => !UNKNOWN_TO_MOTO.has(template.Resources[id]?.Type ?? ""))
          .toSorted(),
        wanted.flatMap(([id, { Type }]) => (UNKNOWN_TO_MOTO.has(Type) ? [] : id)).toSorted(),
      );
      t.strictSame(wanted.flatMap(([id, { Type }]) => (Type === "AWS::ECS::Service" ? id : [])).toSorted(), services);
      t.end();
    });

    await t.test("gives berth settings that it takes, secrets by reference alone, and a role for each", async (t) => {
      for (const { env, secrets, declared, service, volumes, container } of tasks) {
        const { settings, warnings } = readSettings({
          env: { ...env, ...Object.fromEntries(secrets.map((one) => [one, SECRETS[one] ?? "a-key-of-16-bytes"])) },
        });
        t.strictSame(warnings, []);
        t.strictSame(
          Object.keys(env).filter((one) => secretNames.has(one)),
          [],
        );
        // A certificate is no secret, but tasks have no other files.
        t.ok(secrets.every((one) => secretNames.has(one) || one === "BERTH_DATABASE_CA"));
        if (settings.role !== "control")
          t.ok(settings.keepAliveTimeout > IDLE_SECONDS * 1_000, "the load balancer lets go of an idle connection first");
        const count = settings.role === "control" && on.includes("HasDatabase") ? 2 : 1;
        t.equal(declared.DesiredCount, settings.role === "gateway" ? undefined : count, "the autoscaler counts gateways");
        if (settings.role !== "gateway") t.equal(service.desiredCount, count);
        t.match(declared, { LaunchType: "FARGATE", NetworkConfiguration: { AwsvpcConfiguration: { AssignPublicIp: "DISABLED" } } });
        t.strictSame(declared.DeploymentConfiguration, {
          MinimumHealthyPercent: isAlone(settings) ? 0 : 100,
          MaximumPercent: isAlone(settings) ? 100 : 200,
          DeploymentCircuitBreaker: { Enable: true, Rollback: true },
        });
        const port = portOf(settings);
        const isControl = settings.role === "control";
        t.strictSame(
          [...new Set(declared.targets.map((one) => one.port))],
          isControl ? [] : [port],
          "gateways find control by its name in Cloud Map",
        );
        t.equal((declared.ServiceRegistries ?? []).length, isControl ? 1 : 0);
        t.match(container, {
          healthCheck: { command: ["CMD", "berth", "health"] },
          logConfiguration: { logDriver: "awslogs" },
          portMappings: [{ containerPort: port }],
        });
        const stops = (settings.drainDelaySeconds + settings.drainSeconds) * (settings.role === "spawner" ? 0 : 1);
        t.ok((container.stopTimeout ?? 0) > stops + 10);
        t.equal(volumes.length, isControl && on.includes("HasStore") ? 1 : 0, "only control keeps anything");
        if (settings.role === "spawner") {
          t.equal(configuredDriver(settings), "ecs");
          const { cluster, region, execRole, logGroup, subnets, securityGroups, launchType } = ecsOptions(settings);
          t.equal(cluster, stack.id("Cluster"));
          t.strictSame([region, launchType, subnets, securityGroups], [REGION, "fargate", account.subnets, [stack.id("ContainersSecurityGroup")]]);
          t.match(execRole, /^arn:aws:iam::\d+:role\/.*ContainersExecutionRole/);
          t.match(logGroup, `:log-group:${stack.id("ContainersLogGroup")}`);
          t.strictSame(secrets, ["X_API_KEY"]);
        }
        if (isControl) {
          t.equal(configuredDriver(settings), "spawner");
          t.match(settings, { webRoot: "https://stand.example", consoleName: "console.stand.example", gateways: { port: 8443 } });
          t.match(settings.dockerSettings, { grokSpawnerPort: 8000, spawnerAuthMode: "password", grokSpawnerHost: /InternalLoadB/ });
        }
        if (settings.role === "gateway") {
          t.match(settings, { webRoot: "https://stand.example", consoleName: "console.stand.example", control: { wait: true } });
          t.ok(configuredControlLink(settings, systemClock()), "berth joins control by it");
          t.strictSame(settings.control.url, ["http://control.stand.internal:8443"]);
          t.strictSame(secrets, ["BERTH_CONTROL_TOKEN"]);
        }
        if (settings.role === "registry-proxy") t.match(settings, { registry: { ecrMode: true }, awsRegion: REGION, datagrok: { url: /\/api$/ } });
      }
      const roles = tasks.flatMap(({ declared }) => declared.roles.task ?? []);
      t.equal(new Set(roles).size, roles.length);
      t.strictSame(
        roles.filter((role) => role.startsWith("Berth")),
        on.includes("HasStore") ? ["BerthControlRole"] : [],
        "gateways, and control with a database, call nothing of AWS",
      );
    });

    await t.test("starts each task with a role that pulls, logs, and reads the secrets of this task", (t) => {
      const propertiesOf = (id: string) => applyConditions(template.Resources[id]?.Properties, on) as RoleProperties;
      for (const { declared } of tasks) {
        const { ManagedPolicyArns, Policies = [] } = propertiesOf(declared.roles.execution);
        t.strictSame(ManagedPolicyArns, [{ Ref: "TaskStartPolicy" }]);
        const allowed = Policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
        t.ok(allowed.every(({ Action }) => Action === "secretsmanager:GetSecretValue"));
        t.same(new Set(allowed.flatMap(({ Resource }) => Resource)), new Set(declared.secretArns), declared.roles.execution);
      }
      t.equal(new Set(tasks.map(({ declared }) => declared.roles.execution)).size, services.length);
      const own = propertiesOf("TaskStartPolicy").PolicyDocument?.Statement ?? [];
      const containers = propertiesOf("ContainersExecutionRole");
      const ofContainers = (containers.Policies ?? []).flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
      t.equal(containers.ManagedPolicyArns, undefined);
      for (const statements of [own, ofContainers]) {
        t.strictSame(statements.flatMap(({ Action }) => Action).toSorted(), TASK_START_ACTIONS);
        const everywhere = statements.filter(({ Resource }) => Resource === "*");
        t.strictSame(
          everywhere.map(({ Action }) => Action),
          ["ecr:GetAuthorizationToken"],
          "only that has no resource",
        );
      }
      t.match(JSON.stringify(ofContainers), "log-stream:grok_spawner/*");
      t.end();
    });

    await t.test("lets the spawner do what conf/ecs/policy.json says, with its own role and logs alone", async (t) => {
      const statements = await stack.statements("GrokSpawnerPolicy");
      t.strictSame(template.Resources["GrokSpawnerRole"]?.Properties?.["ManagedPolicyArns"], [{ Ref: "GrokSpawnerPolicy" }]);
      const { Statement: documented } = JSON.parse(readFileSync(POLICY, "utf8")) as { Statement: Statement[] };
      const apart = (all: Statement[]) => all.map((one) => ({ ...one, Resource: undefined }));
      t.strictSame(apart(statements), apart(documented));
      const narrowed = statements.flatMap((one, index) => (one.Resource === documented[index]?.Resource ? [] : [one.Sid, one.Resource]));
      t.strictSame(narrowed.length, 4);
      t.match(narrowed, [
        "ReadLogs",
        `arn:aws:logs:${REGION}:${ACCOUNT}:log-group:/stand/containers:log-stream:grok_spawner/*`,
        "StartTasksWithTheirRole",
        /ContainersExecutionRole/,
      ]);
    });

    await t.test("waits 300 s at each load balancer, and leads hosts and ports to the services", async (t) => {
      const { LoadBalancers = [] } = await aws.elb.send(new DescribeLoadBalancersCommand({}));
      const own = LoadBalancers.filter(({ LoadBalancerArn = "" }) => Object.values(stack.made).includes(LoadBalancerArn));
      t.equal(own.length, on.includes("MakesListener") ? 2 : 1);
      for (const { LoadBalancerArn, LoadBalancerName = "" } of own) {
        // moto does not set them by itself, but knows which there are.
        const logical = /PublicLoad/.test(LoadBalancerName) ? "PublicLoadBalancer" : "InternalLoadBalancer";
        const declared = template.Resources[logical]?.Properties?.["LoadBalancerAttributes"] as { Key: string; Value: string }[];
        const { Attributes = [] } = await aws.elb.send(new ModifyLoadBalancerAttributesCommand({ LoadBalancerArn, Attributes: declared }));
        t.equal(Attributes.find(({ Key }) => Key === "idle_timeout.timeout_seconds")?.Value, String(IDLE_SECONDS));
      }
      const inner = await aws.elb.send(new DescribeListenersCommand({ LoadBalancerArn: stack.id("InternalLoadBalancer") }));
      const ports = (inner.Listeners ?? []).map(({ Port = 0 }) => Port).toSorted((a, b) => a - b);
      t.strictSame(ports, [on.includes("HasRegistryProxy") ? [5000] : [], 8000, on.includes("HasBerth") ? [8080] : []].flat());
      const targets = tasks.flatMap(({ declared }) => declared.targets.map(({ group }) => group));
      t.ok((inner.Listeners ?? []).every(({ DefaultActions }) => targets.includes(DefaultActions?.[0]?.TargetGroupArn ?? "")));
      if (!on.includes("IsPublic")) return;
      const outer = on.includes("MakesListener") ? stack.id("DatagrokTCP443Listener") : listeners[on.includes("HasBerth") ? "database" : "server"];
      const { Rules = [] } = await aws.elb.send(new DescribeRulesCommand({ ListenerArn: outer }));
      const led = Rules.filter(({ IsDefault }) => IsDefault !== true).flatMap(({ Conditions, Actions }) => {
        t.ok(targets.includes(Actions?.[0]?.TargetGroupArn ?? ""));
        return Conditions?.[0]?.HostHeaderConfig?.Values ?? [];
      });
      t.strictSame(
        led.toSorted((a, b) => a.localeCompare(b)),
        [
          ...(on.includes("HasBerth") ? ["console.stand.example"] : []),
          ...(on.includes("HasRegistryProxy") ? ["registry.stand.example"] : []),
          ...(on.includes("HasBerth") ? ["stand.example"] : []),
        ],
      );
    });

    await t.test("opens each port to those who call there", async (t) => {
      const { SecurityGroups = [] } = await aws.ec2.send(new DescribeSecurityGroupsCommand({}));
      const names = new Map(Object.entries(stack.made).map(([logical, physical]) => [physical, logical]));
      names.set(account.group, "the stand's own");
      if (on.includes("OpensDatabase")) names.set(databaseGroup, "the database's");
      const opened = SecurityGroups.filter(({ GroupId = "" }) => GroupId !== account.group && names.has(GroupId)).flatMap(
        ({ GroupId = "", IpPermissions = [] }) =>
          IpPermissions.flatMap(({ FromPort, UserIdGroupPairs = [] }) =>
            UserIdGroupPairs.map((from) => `${names.get(from.GroupId ?? "")} -> ${names.get(GroupId)} ${FromPort}`),
          ),
      );
      const outside = on.includes("MakesListener") ? "PublicLoadBalancerSecurityGroup" : "the stand's own";
      t.strictSame(
        opened.toSorted((a, b) => a.localeCompare(b)),
        [
          "InternalLoadBalancerSecurityGroup -> ServicesSecurityGroup 8000",
          "ServicesSecurityGroup -> ContainersSecurityGroup 1",
          ...(on.includes("HasRegistryProxy")
            ? ["InternalLoadBalancerSecurityGroup -> ServicesSecurityGroup 5000", `${outside} -> ServicesSecurityGroup 5000`]
            : []),
          ...(on.includes("HasCallers")
            ? [8000, 5000]
                .map((port) => `the stand's own -> InternalLoadBalancerSecurityGroup ${port}`)
                .concat("the stand's own -> ContainersSecurityGroup 1")
            : []),
          ...(on.includes("HasBerth")
            ? [
                "ServicesSecurityGroup -> InternalLoadBalancerSecurityGroup 8000",
                "ServicesSecurityGroup -> InternalLoadBalancerSecurityGroup 8080",
                "ContainersSecurityGroup -> InternalLoadBalancerSecurityGroup 8080",
                "ServicesSecurityGroup -> ControlSecurityGroup 8443",
                "InternalLoadBalancerSecurityGroup -> ServicesSecurityGroup 8080",
                `${outside} -> ServicesSecurityGroup 8080`,
              ]
            : []),
          ...(on.includes("HasStore") ? ["ControlSecurityGroup -> StoreSecurityGroup 2049"] : []),
          ...(on.includes("OpensDatabase") ? ["ControlSecurityGroup -> the database's 5432"] : []),
        ].toSorted((a, b) => a.localeCompare(b)),
      );
    });

    if (on.includes("HasCallers")) {
      await t.test("lets the registry proxy make repositories with its tag, below datagrok/, and nothing that it does not ask", async (t) => {
        t.strictSame(template.Resources["GrokRegistryProxyRole"]?.Properties?.["ManagedPolicyArns"], [{ Ref: "GrokRegistryProxyECRPolicy" }]);
        await asksOf(t, await stack.statements("GrokRegistryProxyECRPolicy"));
      });
    }

    await t.test("can be deleted", async (t) => {
      await stack.delete();
      const { LoadBalancers = [] } = await aws.elb.send(new DescribeLoadBalancersCommand({}));
      const { SecurityGroups = [] } = await aws.ec2.send(new DescribeSecurityGroupsCommand({}));
      const ids = [...LoadBalancers.map((one) => one.LoadBalancerArn ?? ""), ...SecurityGroups.map(({ GroupId = "" }) => GroupId)];
      t.strictSame(
        ids.filter((one) => Object.values(stack.made).includes(one)),
        [],
      );
    });
  });
}

/** Requests of Docker's that ECR answers by these rights; the API's own calls are those that the proxy is watched to make. */
const PASSED_ON = [
  "ecr:BatchCheckLayerAvailability",
  "ecr:BatchGetImage",
  "ecr:CompleteLayerUpload",
  "ecr:GetDownloadUrlForLayer",
  "ecr:InitiateLayerUpload",
  "ecr:ListImages",
  "ecr:PutImage",
  "ecr:UploadLayerPart",
];

/** Runs the proxy's own credential at an ECR that denies what the policy does not allow. */
async function asksOf(t: Test, statements: Statement[]) {
  const file = join(t.testdir({}), "policy.json");
  writeFileSync(file, JSON.stringify({ Statement: statements }));
  const role = openRole([file]);
  const ecr = await openEcr(t);
  const refused: string[] = [];
  ecr.answers = ({ action, body }) => {
    const tags = (body["tags"] ?? []) as { Key: string; Value: string }[];
    const context = Object.fromEntries(tags.map(({ Key, Value }) => [`aws:RequestTag/${Key}`, Value]));
    const name = body["repositoryName"] as string | undefined;
    const resource = name === undefined ? "*" : `arn:aws:ecr:${REGION}:${ACCOUNT}:repository/${name}`;
    // Tags at creation are a right of their own.
    const actions = [`ecr:${action}`, ...(tags.length > 0 ? ["ecr:TagResource"] : [])];
    if (actions.every((one) => role.allows(one, context, resource))) return undefined;
    refused.push(`${action} ${name}`);
    return denied(action);
  };
  const settings = { url: undefined, username: undefined, password: undefined, ecrMode: true, awsRegion: REGION };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const upstream = await openUpstream(settings, { clock: systemClock(), log: openLog({ level: "silent", name: "test" }), signal });
  t.teardown(() => upstream.close());
  await upstream.beforePush?.("datagrok/x", signal);
  t.strictSame(refused, []);
  await upstream.beforePush?.("others/x", signal);
  t.strictSame(refused, ["CreateRepository others/x"]);
  const called = ecr.actions().map((action) => `ecr:${action}`);
  t.strictSame(role.actions, [...new Set([...called, "ecr:TagResource", ...PASSED_ON])].toSorted(), "no more than that");
  t.notOk(role.allows("ecr:CreateRepository", {}, `arn:aws:ecr:${REGION}:${ACCOUNT}:repository/datagrok/x`), "untagged");
  t.notOk(role.allows("ecr:PutImage", {}, `arn:aws:ecr:${REGION}:${ACCOUNT}:repository/others/x`));
}

t.test("the template's resources and their properties are those of CloudFormation's own specification", (t) => {
  t.strictSame(unspecified(template), []);
  const text = JSON.stringify(template);
  const used = (name: string) => text.includes(`"Ref":"${name}"`) || text.includes(`\${${name}}`);
  t.strictSame(
    Object.keys(template.Parameters).filter((name) => !used(name)),
    [],
    "and each parameter is for something",
  );
  t.end();
});
