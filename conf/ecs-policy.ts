import type { ACTIONS } from "../drivers/ecs/aws.ts";

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
