/** A chain of words: which word followed each pair of words in a text. Learns and continues; knows no server. */

export interface Chain {
  /** Followers of `first second`, in the order and as often as the text has them. */
  readonly followers: ReadonlyMap<string, readonly string[]>
  readonly opening: readonly [string, string]
}

export function learn(text: string): Chain {
  const words = text.split(/\s+/).filter(Boolean)
  const [first = '', second = ''] = words
  const followers = new Map<string, string[]>()
  // The end is followed by the beginning, so that every pair has a follower.
  const round = [...words, first, second]
  for (let i = 0; i + 2 < round.length; i++) {
    const pair = `${round[i]} ${round[i + 1]}`
    const known = followers.get(pair)
    if (known) known.push(round[i + 2] ?? '')
    else followers.set(pair, [round[i + 2] ?? ''])
  }
  return { followers, opening: [first, second] }
}

/** Words after `prompt`, without end. A prompt whose last two words the text does not have starts at the opening. */
export function* continueText(chain: Chain, prompt: string, seed: number): Generator<string> {
  const random = makeRandom(seed)
  let [first = '', second = ''] = prompt.split(/\s+/).filter(Boolean).slice(-2)
  if (!chain.followers.has(`${first} ${second}`)) {
    ;[first, second] = chain.opening
    yield first
    yield second
  }
  for (;;) {
    const choices = chain.followers.get(`${first} ${second}`) ?? []
    const next = choices[Math.floor(random() * choices.length)] ?? ''
    yield next
    first = second
    second = next
  }
}

/** Numbers in [0, 1) that depend on the seed only: a linear congruential generator (Numerical Recipes, 32 bit). */
function makeRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
