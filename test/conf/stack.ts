import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CloudFormationClient, CreateStackCommand, DeleteStackCommand, DescribeStackResourcesCommand } from "@aws-sdk/client-cloudformation";
import { DescribeSecurityGroupsCommand, DescribeSubnetsCommand, EC2Client } from "@aws-sdk/client-ec2";
import { DescribeServicesCommand, DescribeTaskDefinitionCommand, ECSClient, type Service } from "@aws-sdk/client-ecs";
import { ElasticLoadBalancingV2Client } from "@aws-sdk/client-elastic-load-balancing-v2";
import { GetPolicyCommand, GetPolicyVersionCommand, IAMClient } from "@aws-sdk/client-iam";
import type { Test } from "tap";
import { parse, type CollectionTag, type ScalarTag } from "yaml";
import { openMoto } from "../gateway/registry/upstream/moto.ts";

export const TEMPLATE = join(import.meta.dirname, "../../conf/cloudformation/template.yaml");
export const REGION = "eu-west-1";
const SHORT = ["Ref", "Sub", "GetAtt", "If", "Equals", "Not", "And", "Or", "Condition", "Join", "Select", "Split"];

type StackResource = { Type: string; Condition?: string; DependsOn?: string | string[]; Properties?: Record<string, unknown> };
export type StackTemplate = {
  Parameters: Record<string, object>;
  Conditions: Record<string, unknown>;
  Resources: Record<string, StackResource>;
  [part: string]: unknown;
};

/** The template as JSON would have it. */
export function readTemplate(path = TEMPLATE): StackTemplate {
  const long = (name: string) => (name === "Ref" || name === "Condition" ? name : `Fn::${name}`);
  const customTags = SHORT.flatMap((name): (ScalarTag | CollectionTag)[] => [
    { tag: `!${name}`, resolve: (text: string) => ({ [long(name)]: name === "GetAtt" ? text.split(".") : text }) },
    {
      tag: `!${name}`,
      collection: "seq",
      resolve: (items) => ({ [long(name)]: (items as unknown as { toJSON(): unknown }).toJSON() }),
    },
  ]);
  // CloudFormation has no aliases.
  return parse(readFileSync(path, "utf8"), { customTags, maxAliasCount: 0 }) as StackTemplate;
}

/** An account of moto's, with a network as accounts have one. */
export async function openAccount(t: Test) {
  const endpoint = `http://127.0.0.1:${await openMoto(t)}`;
  const at = { region: REGION, endpoint, credentials: { accessKeyId: "test", secretAccessKey: "test" } };
  const aws = {
    cloudformation: new CloudFormationClient(at),
    ec2: new EC2Client(at),
    ecs: new ECSClient(at),
    elb: new ElasticLoadBalancingV2Client(at),
    iam: new IAMClient(at),
  };
  t.teardown(() => Object.values(aws).forEach((client) => client.destroy()));
  const subnets = (await aws.ec2.send(new DescribeSubnetsCommand({}))).Subnets ?? [];
  const ids = subnets.map(({ SubnetId }) => SubnetId ?? "");
  const [group] = (await aws.ec2.send(new DescribeSecurityGroupsCommand({}))).SecurityGroups ?? [];
  return { aws, vpc: subnets[0]?.VpcId ?? "", subnets: [ids[0] ?? "", ids[1] ?? ""] as const, group: group?.GroupId ?? "" };
}

export type Account = Awaited<ReturnType<typeof openAccount>>;

export async function createStack({ aws, vpc, subnets }: Account, name: string, parameters: Record<string, string>) {
  const given = {
    Image: "registry.example/berth:1",
    DatagrokVPC: vpc,
    DatagrokPrivateSubnet1: subnets[0],
    DatagrokPrivateSubnet2: subnets[1],
    Host: "stand.example",
    ...parameters,
  };
  const Parameters = Object.entries(given).map(([ParameterKey, ParameterValue]) => ({ ParameterKey, ParameterValue }));
  // moto's access points have no ids that could be written into a task definition, and it has no Cloud Map.
  const TemplateBody = readFileSync(TEMPLATE, "utf8")
    .replaceAll("!Ref StoreAccessPoint", "fsap-0123")
    .replaceAll("${StoreAccessPoint}", "fsap-0123")
    .replaceAll("!GetAtt BerthControlDiscovery.Arn", "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-0123");
  const template = readTemplate();
  await aws.cloudformation.send(new CreateStackCommand({ StackName: name, TemplateBody, Parameters, Capabilities: ["CAPABILITY_IAM"] }));
  const { StackResources = [] } = await aws.cloudformation.send(new DescribeStackResourcesCommand({ StackName: name }));
  const made = Object.fromEntries(
    // What it makes nothing of has no name there either.
    StackResources.filter(({ LogicalResourceId = "" }) => LogicalResourceId !== "").map(({ LogicalResourceId = "", PhysicalResourceId = "" }) => [
      LogicalResourceId,
      PhysicalResourceId,
    ]),
  );
  const id = (logical: string) => {
    const created = made[logical];
    if (created === undefined) throw new Error(`The stack has no ${logical}.`);
    return created;
  };
  return {
    made,
    id,
    delete: () => aws.cloudformation.send(new DeleteStackCommand({ StackName: name })),
    /** `declared` is what moto leaves out of what it makes of a template: roles, launch type, network, deployments, load balancers. */
    service: async (logical: string, conditions: readonly string[]) => {
      const ofService = applyConditions(template.Resources[logical]?.Properties, conditions) as DeclaredService;
      const ofTask = applyConditions(template.Resources[ofService.TaskDefinition.Ref]?.Properties, conditions) as DeclaredTask;
      const declared = {
        ...ofService,
        roles: { task: ofTask.TaskRoleArn?.["Fn::GetAtt"][0], execution: ofTask.ExecutionRoleArn["Fn::GetAtt"][0] },
        secretArns: (ofTask.ContainerDefinitions[0]?.Secrets ?? []).map(({ ValueFrom }) => ValueFrom),
        targets: (ofService.LoadBalancers ?? []).map((one) => ({ port: one.ContainerPort, group: id(one.TargetGroupArn.Ref) })),
      };
      const { services = [] } = await aws.ecs.send(new DescribeServicesCommand({ cluster: id("Cluster"), services: [id(logical)] }));
      const [service] = services as [Service];
      const { taskDefinition } = await aws.ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: service.taskDefinition }));
      const [container = {}] = taskDefinition?.containerDefinitions ?? [];
      const env = Object.fromEntries((container.environment ?? []).map(({ name: key = "", value = "" }) => [key, value]));
      // moto leaves a null where the template has no value.
      const secrets = (container.secrets ?? []).flatMap((one: { name?: string | undefined } | null) => one?.name ?? []);
      return { declared, service, volumes: taskDefinition?.volumes ?? [], container, env, secrets };
    },
    /** What a policy of the stack says. */
    statements: async (policy: string) => {
      const PolicyArn = id(policy);
      const { Policy } = await aws.iam.send(new GetPolicyCommand({ PolicyArn }));
      const { PolicyVersion } = await aws.iam.send(new GetPolicyVersionCommand({ PolicyArn, VersionId: Policy?.DefaultVersionId }));
      return (JSON.parse(decodeURIComponent(PolicyVersion?.Document ?? "")) as { Statement: Statement[] }).Statement;
    },
  };
}

/** What is left of a part of the template where these conditions are true, and all others are not. */
export function applyConditions(value: unknown, conditions: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((one) => applyConditions(one, conditions)).filter((one) => one !== undefined);
  if (typeof value !== "object" || value === null) return value;
  if ("Fn::If" in value) {
    const [condition, yes, no] = value["Fn::If"] as [string, unknown, unknown];
    return applyConditions(conditions.includes(condition) ? yes : no, conditions);
  }
  if ("Ref" in value && value.Ref === "AWS::NoValue") return undefined;
  const entries = Object.entries(value).map(([key, one]) => [key, applyConditions(one, conditions)] as const);
  return Object.fromEntries(entries.filter(([, one]) => one !== undefined));
}

type Role = { "Fn::GetAtt": [string, string] };
type DeclaredTask = { TaskRoleArn?: Role; ExecutionRoleArn: Role; ContainerDefinitions: { Secrets?: { ValueFrom: unknown }[] }[] };
type DeclaredService = {
  TaskDefinition: { Ref: string };
  LaunchType: string;
  DesiredCount?: number;
  DeploymentConfiguration: { MinimumHealthyPercent: number; MaximumPercent: number };
  NetworkConfiguration: { AwsvpcConfiguration: { AssignPublicIp: string; SecurityGroups: object[] } };
  LoadBalancers?: { ContainerPort: number; TargetGroupArn: { Ref: string } }[];
  ServiceRegistries?: object[];
};
export type Statement = { Sid?: string; Effect: string; Action: string | string[]; Resource: string | string[]; Condition?: object };
