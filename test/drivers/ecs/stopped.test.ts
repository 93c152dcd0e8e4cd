import type { Task } from "@aws-sdk/client-ecs";
import t from "tap";
import { awsFault } from "../../../drivers/ecs/faults.ts";
import { faultOf, stoppedFault } from "../../../drivers/ecs/stopped.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";

const SPEC = { service: "x", memoryMb: 100 };
const ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/api";
const USER = "User: arn:aws:sts::123456789012:assumed-role/tasks/x is not authorized to perform:";

/** As the pages on stopped tasks' errors quote them, and users who met them. */
const STOPPED: [FaultCode, string, RegExp?][] = [
  ["IMAGE_NOT_FOUND", `CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref ${ECR}@sha256:ab: not found`],
  ["IMAGE_NOT_FOUND", `CannotPullContainerError: Error response from daemon: manifest for ${ECR}:v1 not found: manifest unknown`],
  [
    "PULL_DENIED",
    `CannotPullContainerError: Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'`,
  ],
  ["PULL_DENIED", `CannotPullContainerError: failed to pull and unpack image "${ECR}:latest": unexpected status code 403 Forbidden`],
  [
    "PULL_DENIED",
    `CannotPullContainerError: ${USER} ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:1:repository/api`,
    /Allow ecr:BatchGetImage/,
  ],
  ["PULL_DENIED", "CannotPullContainerError: inspect image has been retried 5 time(s): toomanyrequests: You have reached your pull rate limit."],
  ["NO_CAPACITY", "CannotPullContainerError: write /var/lib/docker/tmp/GetImageBlob111111111: no space left on device", /storage/],
  [
    "REGISTRY_UNREACHABLE",
    `CannotPullContainerError: failed to do request: Head "https://${ECR}/manifests/v42": dial tcp 10.0.3.17:443: i/o timeout`,
    /NAT/,
  ],
  [
    "ENGINE_ACTION_DENIED",
    `ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: ${USER} ecr:GetAuthorizationToken on resource: *`,
    /denies ecr:GetAuthorizationToken.*EXEC_ROLE/,
  ],
  [
    "ENGINE_ACTION_DENIED",
    `ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: AccessDeniedException: ${USER} logs:CreateLogStream on resource: x`,
    /denies logs:CreateLogStream/,
  ],
  [
    "ENGINE_ACTION_DENIED",
    "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: service call has been retried 1 time(s): AccessDeniedException",
    /denies /,
  ],
  [
    "ENGINE_FAILED",
    "ResourceInitializationError: failed to validate logger args: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.",
    /LOG_GROUP.*Create it/,
  ],
  [
    "ENGINE_FAILED",
    "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration.",
    /VPC endpoints/,
  ],
  [
    "CONTAINER_CRASHED",
    'CannotStartContainerError: Error response from daemon: failed to create task: exec: "/no/such": stat /no/such: no such file or directory',
  ],
];

t.test("why a task stopped has one meaning in the house, and says what to do", async (t) => {
  for (const [code, stoppedReason, says] of STOPPED) {
    const fault = stoppedFault(SPEC, { stoppedReason, stopCode: "TaskFailedToStart" }, ["last"]);
    t.equal(fault.code, code, stoppedReason);
    t.match(fault.message, says ?? /^x /);
    const [, todo] = fault.message.split(stoppedReason.replace(/\.$/, ""));
    t.match(todo, /^\. [A-Z].+\.$/, "what to do comes last");
    t.strictSame(fault.logs, ["last"]);
  }
});

t.test("on EC2 the reason is the container's, not the task's", async (t) => {
  const task: Task = { stoppedReason: "Task failed to start", containers: [{ name: "x", reason: `CannotPullContainerError: ${ECR}: not found` }] };
  t.equal(stoppedFault(SPEC, task, []).code, "IMAGE_NOT_FOUND");
});

t.test("a container that ended is reported with its exit code, or with its lack of memory", async (t) => {
  const ended = (containers: Task["containers"]): Task => ({
    stopCode: "EssentialContainerExited",
    stoppedReason: "Essential container in task exited",
    containers,
  });
  const beside = { name: "aws-guardduty-agent", exitCode: 0 };
  t.match(stoppedFault(SPEC, ended([beside, { name: "x", exitCode: 3 }]), []), { code: "CONTAINER_CRASHED", message: /exit code 3/ });
  const eaten = ended([{ name: "x", exitCode: 137, reason: "OutOfMemoryError: Container killed due to memory usage" }]);
  t.match(stoppedFault(SPEC, eaten, []), { code: "CONTAINER_OUT_OF_MEMORY", message: /100 MB.*Raise `memory`/ });
  t.equal(stoppedFault(SPEC, {}, []).code, "CONTAINER_CRASHED");
});

const NONE_MET = "was unable to place a task because no container instance met all of its requirements.";

t.test("the reason for a failed placement is reported too", async (t) => {
  const cases: [FaultCode, string][] = [
    ...["has insufficient memory available", "has insufficient CPU units available", "is already using a port required by your task"].map(
      (lacks): [FaultCode, string] => ["NO_CAPACITY", `${NONE_MET} The closest matching (container-instance 0f) ${lacks}.`],
    ),
    ["NO_CAPACITY", `${NONE_MET} The closest matching (container-instance 0f) encountered error "RESOURCE:CPU".`],
    ["CONTAINER_UNSCHEDULABLE", `${NONE_MET} The closest matching (container-instance 0f) is missing an attribute required by your task.`],
    [
      "CONTAINER_UNSCHEDULABLE",
      "was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster.",
    ],
    [
      "NO_CAPACITY",
      "was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.",
    ],
    ["NO_CAPACITY", "was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently"],
    [
      "ENGINE_ACTION_DENIED",
      "failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task.)",
    ],
  ];
  for (const [code, reason] of cases) t.equal(faultOf("x", `(service x) ${reason}`)?.code, code, reason);
  t.equal(faultOf("x", "(service x) has reached a steady state."), undefined);
});

t.test("what AWS refuses has one meaning in the house", async (t) => {
  const error = (name: string, message = "", more = {}) => Object.assign(new Error(message), { name, $metadata: { httpStatusCode: 400 }, ...more });
  const code = (thrown: unknown, action = "ecs:CreateService") => awsFault(thrown, action).code;
  const denied = awsFault(
    error("AccessDeniedException", `${USER} ecs:CreateService on resource: x because no identity-based policy allows it`),
    "ecs:CreateService",
  );
  t.match(denied, { code: "ENGINE_ACTION_DENIED", message: /denies ecs:CreateService/ });
  // Another action than the requested one.
  t.match(
    awsFault(error("AccessDeniedException", `${USER} iam:PassRole on resource: y`), "ecs:RegisterTaskDefinition").message,
    /denies iam:PassRole/,
  );
  t.equal(code(error("ClientException", "No Fargate configuration exists")), "SPEC_REFUSED");
  t.equal(code(error("InvalidParameterException", "x"), "ecs:ListTasks"), "ENGINE_FAILED");
  t.equal(code(error("ClientException", "ECS was unable to assume the role 'x'")), "ENGINE_ACTION_DENIED");
  t.equal(code(error("LimitExceededException", "The limit is exceeded")), "NO_CAPACITY");
  t.equal(code(error("ThrottlingException", "Rate exceeded")), "ENGINE_FAILED");
  t.equal(code(error("ClusterNotFoundException", "Cluster not found.")), "ENGINE_FAILED");
  t.equal(code(error("ServerException", "", { $metadata: { httpStatusCode: 500 } })), "ENGINE_FAILED");
  t.equal(code(error("CredentialsProviderError", "no", { $metadata: undefined })), "ENGINE_FAILED");
  t.equal(code(error("Error", "connect", { code: "ECONNREFUSED", $metadata: undefined })), "ENGINE_UNREACHABLE");
  t.equal(code(error("TimeoutError", "slow", { $metadata: {} })), "ENGINE_UNREACHABLE");
  const own = new Fault("NO_CAPACITY", "full");
  t.equal(awsFault(own, "ecs:ListTasks"), own);
});
