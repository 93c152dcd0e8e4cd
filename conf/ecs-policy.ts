import type { ACTIONS, SHELL_ACTIONS } from "../drivers/ecs/aws.ts";

/** Which requests of an action a statement allows. */
type StatementScope = { resource?: string; condition?: Record<string, Record<string, string | string[]>> };

const CALLER = "grok_spawner";

/** In the order of the file. Without a scope: actions that IAM cannot limit to berth's own resources, and those that only read. */
const STATEMENTS = {
  Make: { condition: { StringEquals: { "aws:RequestTag/caller": CALLER } } },
  TagWhatIsMade: { condition: { StringEquals: { "ecs:CreateAction": ["RegisterTaskDefinition", "CreateService"] } } },
  Unmake: { condition: { StringEquals: { "aws:ResourceTag/caller": CALLER } } },
  DeregisterAndLook: {},
  ReadLogs: { resource: `arn:aws:logs:*:*:log-group:*:log-stream:${CALLER}/*` },
  FindImages: {},
  ReadPortsOfImages: {},
  StartTasksWithTheirRole: { condition: { StringEquals: { "iam:PassedToService": "ecs-tasks.amazonaws.com" } } },
} as const satisfies Record<string, StatementScope>;

/** What AWS checks beside the driver's own calls: tags and the role of what it creates, ECR's answers to the look-up of an image. */
type ImpliedAction =
  | "ecs:TagResource"
  | "iam:PassRole"
  | "ecr:GetAuthorizationToken"
  | "ecr:ListImages"
  | "ecr:BatchGetImage"
  | "ecr:GetDownloadUrlForLayer";

/** The statement of each action. The types fail if the driver calls an action without a row, and if a row has no call. */
const STATEMENT_OF: Record<(typeof ACTIONS)[number] | ImpliedAction, keyof typeof STATEMENTS> = {
  "ecs:RegisterTaskDefinition": "Make",
  "ecs:CreateService": "Make",
  "ecs:TagResource": "TagWhatIsMade",
  "ecs:DeleteService": "Unmake",
  "ecs:DeregisterTaskDefinition": "DeregisterAndLook",
  "ecs:DescribeContainerInstances": "DeregisterAndLook",
  "ecs:DescribeServices": "DeregisterAndLook",
  "ecs:DescribeTasks": "DeregisterAndLook",
  "ecs:ListContainerInstances": "DeregisterAndLook",
  "ecs:ListServices": "DeregisterAndLook",
  "ecs:ListTaskDefinitions": "DeregisterAndLook",
  "ecs:ListTasks": "DeregisterAndLook",
  "logs:GetLogEvents": "ReadLogs",
  "ecr:GetAuthorizationToken": "FindImages",
  "ecr:ListImages": "FindImages",
  "ecr:BatchGetImage": "ReadPortsOfImages",
  "ecr:GetDownloadUrlForLayer": "ReadPortsOfImages",
  "iam:PassRole": "StartTasksWithTheirRole",
};

/** The IAM policy of the driver `ecs`: conf/ecs/policy.json. */
export function ecsPolicy() {
  const Statement = Object.entries<StatementScope>(STATEMENTS).map(([Sid, { resource = "*", condition }]) => {
    const actions = Object.entries(STATEMENT_OF).flatMap(([action, statement]) => (statement === Sid ? action : []));
    const [only] = actions;
    return {
      Sid,
      Effect: "Allow",
      Action: actions.length === 1 && only !== undefined ? only : actions,
      Resource: resource,
      ...(condition && { Condition: condition }),
    };
  });
  return { Version: "2012-10-17", Statement };
}

/** With `BERTH_SHELL=on`, besides the policy above: conf/ecs/policy-shell.json. IAM checks the task, and the cluster, which has no tag of berth's. */
export function ecsShellPolicy() {
  const action: (typeof SHELL_ACTIONS)[number] = "ecs:ExecuteCommand";
  return {
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "RunCommandsInTasks",
        Effect: "Allow",
        Action: action,
        Resource: "arn:aws:ecs:*:*:task/*",
        Condition: { StringEquals: { "aws:ResourceTag/caller": CALLER } },
      },
      { Sid: "OfClusters", Effect: "Allow", Action: action, Resource: "arn:aws:ecs:*:*:cluster/*" },
    ],
  };
}

/** What the agent for shells needs, and so every process in a container may do: conf/ecs/shell-role.json. IAM can limit none of these. */
export function ecsShellRole() {
  const Action = ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"].map((name) => `ssmmessages:${name}`);
  return { Version: "2012-10-17", Statement: [{ Sid: "ConnectTheAgent", Effect: "Allow", Action, Resource: "*" }] };
}
