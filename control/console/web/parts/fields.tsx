/** A text field with its label above. It reports its value when it is left, or at Enter. */
export function LabelledInput({ label, type = "text", value, onChange }: LabelledInputProps) {
  return (
    <label class="field">
      {label}
      {type === "text" ? (
        <input type="text" value={value} onChange={(event) => onChange(event.currentTarget.value.trim())} />
      ) : (
        <input type="datetime-local" value={value} onChange={(event) => onChange(event.currentTarget.value)} />
      )}
    </label>
  );
}

type LabelledInputProps = { label: string; type?: "text" | "datetime-local"; value: string; onChange(value: string): void };
