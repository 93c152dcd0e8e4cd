/** One of some words, or all; shows how many there are of each. */
export function Filter({ label, choices, value, onChange }: Props) {
  return (
    <div class="filter" role="group" aria-label={label}>
      {choices.map(({ word, count }) => (
        <button key={word} type="button" aria-pressed={value === word} onClick={() => onChange(word)}>
          {word} <small>{count}</small>
        </button>
      ))}
    </div>
  );
}

type Props = { label: string; choices: readonly { word: string; count: number }[]; value: string; onChange(word: string): void };
