import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CreateStackCommand, DeleteStackCommand, DescribeStackResourcesCommand, DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { GetRoleCommand } from "@aws-sdk/client-iam";
import t from "tap";
import { parse } from "yaml";
import { readSettings } from "../../conf/read-settings.ts";
import { type ChartValues, faultsOf, lint, ofKind, podsOf, render } from "./chart.ts";
import { unspecified } from "./specification.ts";
import { openAccount, readTemplate, type StackTemplate } from "./stack.ts";

const PATH = join(import.meta.dirname, "../../conf/cloudformation/eks.yaml");
const template = readTemplate(PATH);
const ATTRIBUTES: Record<string, string> = {
  Image: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/berth",
  Host: "stand.example",
  DatagrokArnSSLCertificate: "arn:aws:acm:eu-west-1:123456789012:certificate/1",
  HelmNamespace: "berth",
  Release: "berth",
  "AWS::Region": "eu-west-1",
  "IdentityProvider.Arn": "arn:aws:iam::123456789012:oidc-provider/oidc.eks.example/id/A",
  "EKSCluster.OpenIdConnectIssuerUrl": "https://oidc.eks.example/id/A",
  "GrokRegistryProxyRole.Arn": "arn:aws:iam::123456789012:role/registry",
};

/** Of InternetSubnetAllow, the only parameter that is a list. */
const ALLOWED = ["10.0.0.0/8", "192.0.2.0/24"];

/** What CloudFormation makes of a value, with these conditions. */
function resolve(value: unknown, conditions: Record<string, boolean>): unknown {
  const [name = "", given] = Object.entries((value ?? {}) as Record<string, unknown>)[0] ?? [];
  const list = Array.isArray(given) ? (given as unknown[]) : [];
  const inner = (one: unknown) => resolve(one, conditions);
  switch (name) {
    case "Fn::Sub": {
      const [text, more] = Array.isArray(given) ? [String(list[0]), list[1] as Record<string, unknown>] : [String(given), {}];
      return text.replaceAll(/\$\{([^}]+)\}/g, (whole, key: string) => (key in more ? String(inner(more[key])) : (ATTRIBUTES[key] ?? whole)));
    }
    case "Fn::GetAtt":
      return ATTRIBUTES[list.join(".")];
    case "Fn::If":
      return inner(list[conditions[String(list[0])] === true ? 1 : 2]);
    case "Fn::Join":
      return (inner(list[1]) as unknown[]).map(inner).join(String(list[0]));
    case "Ref":
      return ALLOWED;
    case "Fn::Split":
      return String(inner(list[1])).split(String(list[0]));
    case "Fn::Select":
      return (inner(list[1]) as string[])[Number(list[0])];
    default:
      return value;
  }
}

t.test("the template of EKS has resources and properties of CloudFormation's own specification, and each parameter has a use", (t) => {
  t.strictSame(unspecified(template), []);
  const text = JSON.stringify(template);
  t.strictSame(
    Object.keys(template.Parameters).filter((name) => !text.includes(`"Ref":"${name}"`) && !text.includes(`\${${name}}`)),
    [],
  );
  t.end();
});

t.test("pods get a role by the chart's service account alone, with the rights of the registry proxy on ECS", (t) => {
  const { Resources } = template;
  const trust = (role: string) => JSON.parse(String(resolve(Resources[role]?.Properties?.["AssumeRolePolicyDocument"], {}))) as object;
  t.match(trust("GrokRegistryProxyRole"), {
    Statement: [
      {
        Principal: { Federated: ATTRIBUTES["IdentityProvider.Arn"] },
        Action: "sts:AssumeRoleWithWebIdentity",
        Condition: {
          StringEquals: { "oidc.eks.example/id/A:aud": "sts.amazonaws.com", "oidc.eks.example/id/A:sub": "system:serviceaccount:berth:berth" },
        },
      },
    ],
  });
  t.match(JSON.stringify(trust("VolumesRole")), "system:serviceaccount:kube-system:ebs-csi-controller-sa");
  const policyOf = (of: StackTemplate) => of.Resources["GrokRegistryProxyECRPolicy"]?.Properties?.["PolicyDocument"];
  t.strictSame(policyOf(template), policyOf(readTemplate()));
  t.match(Resources["NodeTemplate"]?.Properties, { LaunchTemplateData: { MetadataOptions: { HttpTokens: "required", HttpPutResponseHopLimit: 1 } } });
  t.end();
});

/** What Debian's moto creates nothing of, and what the template needs of it. */
const NOT_IN_MOTO = new Set(["AWS::EKS::Cluster", "AWS::EKS::Nodegroup", "AWS::EKS::Addon", "AWS::IAM::OIDCProvider"]);

for (const HasRegistryProxy of [true, false]) {
  t.test(`the stack ${HasRegistryProxy ? "with" : "without"} the registry proxy is created on moto, but for what that does not have`, async (t) => {
    const { aws, subnets } = await openAccount(t);
    const parameters = {
      Image: ATTRIBUTES["Image"] ?? "",
      Host: "stand.example",
      DatagrokArnSSLCertificate: ATTRIBUTES["DatagrokArnSSLCertificate"] ?? "",
      DatagrokPrivateSubnet1: subnets[0],
      DatagrokPrivateSubnet2: subnets[1],
      EnableRegistryProxy: String(HasRegistryProxy),
    };
    const TemplateBody = readFileSync(PATH, "utf8")
      .replaceAll("!GetAtt EKSCluster.OpenIdConnectIssuerUrl", ATTRIBUTES["EKSCluster.OpenIdConnectIssuerUrl"] ?? "")
      .replaceAll("${IdentityProvider.Arn}", ATTRIBUTES["IdentityProvider.Arn"] ?? "");
    const Parameters = Object.entries(parameters).map(([ParameterKey, ParameterValue]) => ({ ParameterKey, ParameterValue }));
    await aws.cloudformation.send(new CreateStackCommand({ StackName: "eks", TemplateBody, Parameters, Capabilities: ["CAPABILITY_IAM"] }));
    const { StackResources = [] } = await aws.cloudformation.send(new DescribeStackResourcesCommand({ StackName: "eks" }));
    const created = new Map(StackResources.map(({ LogicalResourceId = "", PhysicalResourceId = "" }) => [LogicalResourceId, PhysicalResourceId]));
    const wanted = Object.entries(template.Resources).filter(
      ([, { Type, Condition: condition }]) => !NOT_IN_MOTO.has(Type) && (condition === undefined || HasRegistryProxy),
    );
    t.strictSame(
      [...created.keys()].filter((id) => id !== "" && !NOT_IN_MOTO.has(template.Resources[id]?.Type ?? "")).toSorted(),
      wanted.map(([id]) => id).toSorted(),
    );
    const { Stacks = [] } = await aws.cloudformation.send(new DescribeStacksCommand({ StackName: "eks" }));
    const values = parse(Stacks[0]?.Outputs?.find(({ OutputKey }) => OutputKey === "Values")?.OutputValue ?? "") as ChartValues;
    t.match(values, { ingress: { host: "stand.example", timeoutSeconds: 300 } });
    if (!HasRegistryProxy) return t.match(values, { grokRegistryProxy: { enabled: false } });
    const RoleName = created.get("GrokRegistryProxyRole") ?? "";
    const { Role: role } = await aws.iam.send(new GetRoleCommand({ RoleName }));
    t.match(decodeURIComponent(role?.AssumeRolePolicyDocument ?? ""), '"oidc.eks.example/id/A:sub":"system:serviceaccount:berth:berth"');
    // moto attaches none.
    t.strictSame(template.Resources["GrokRegistryProxyRole"]?.Properties?.["ManagedPolicyArns"], [{ Ref: "GrokRegistryProxyECRPolicy" }]);
    await aws.cloudformation.send(new DeleteStackCommand({ StackName: "eks" }));
  });
}

for (const HasRegistryProxy of [true, false]) {
  t.test(`its output is values that the chart takes, ${HasRegistryProxy ? "with" : "without"} the registry proxy`, async (t) => {
    const values = parse(
      String(resolve((template["Outputs"] as Record<string, { Value: unknown }>)["Values"]?.Value, { HasRegistryProxy })),
    ) as ChartValues;
    const [rendered, complaints] = await Promise.all([render(values), lint(values)]);
    t.same(complaints, []);
    const objects = "objects" in rendered ? rendered.objects : [];
    t.same(objects.flatMap(faultsOf), []);
    t.equal(ofKind(objects, "Ingress")[0]?.metadata.annotations?.["alb.ingress.kubernetes.io/inbound-cidrs"], ALLOWED.join(","));
    t.equal(
      ofKind(objects, "Ingress")[0]?.metadata.annotations?.["alb.ingress.kubernetes.io/load-balancer-attributes"],
      "idle_timeout.timeout_seconds=300",
    );
    const control = podsOf(objects).find(({ env }) => env["BERTH_ROLE"] === "control");
    const { settings } = readSettings({ env: control?.env ?? {} });
    t.match(settings, { webRoot: "https://stand.example", consoleUrl: "https://console.stand.example", registry: { ecrMode: HasRegistryProxy } });
    const [account] = ofKind(objects, "ServiceAccount");
    t.equal(account?.metadata.annotations?.["eks.amazonaws.com/role-arn"], HasRegistryProxy ? ATTRIBUTES["GrokRegistryProxyRole.Arn"] : undefined);
  });
}
