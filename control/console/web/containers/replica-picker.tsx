import type { Container } from "../entities.ts";

type ReplicaPickerProps = { replicas: Container["replicas"]; value: number; onChange(replica: number): void };

/** Chooses one of a container's replicas; nothing where there is only one. */
export function ReplicaPicker({ replicas, value, onChange }: ReplicaPickerProps) {
  const each = replicas?.each ?? [];
  if (each.length < 2) return null;
  return (
    <select aria-label="Replica" value={value} onChange={(event) => onChange(Number(event.currentTarget.value))}>
      {each.map(({ replica, status }) => (
        <option key={replica} value={replica}>
          replica {replica} ({status})
        </option>
      ))}
    </select>
  );
}

/** The chosen one, while it exists; else the container itself. */
export function replicaOf(replicas: Container["replicas"], chosen: number): { replica: number; status: string | undefined } {
  const one = replicas?.each?.find(({ replica }) => replica === chosen);
  return { replica: one?.replica ?? 1, status: one?.status };
}
