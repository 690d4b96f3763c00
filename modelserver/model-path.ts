/** Reads the model and the operation from the path behind a router's prefix (3.4). Knows no routes. */

export interface ModelPath {
  /** Route key, `name` or `name:version`; empty: the list of models. */
  readonly key: string
  /** Without outer slashes; may be empty or `a/b`. */
  readonly op: string
}

// Clients ask for the same few paths all day long; the bound keeps a scanner from filling the memory.
const known = new Map<string, ModelPath>()
const mostKnown = 1000

export function modelPath(rest: string): ModelPath {
  const seen = known.get(rest)
  if (seen !== undefined) return seen
  const path = parse(rest)
  if (known.size >= mostKnown) known.clear()
  known.set(rest, path)
  return path
}

function parse(rest: string): ModelPath {
  const [model = '', ...behind] = trimSlashes(rest).split('/').map(decode)
  const [word, version, ...op] = behind
  if (word === 'versions' && version !== undefined) return { key: `${model}:${version}`, op: op.join('/') }
  return { key: model, op: behind.join('/') }
}

export function trimSlashes(path: string): string {
  let from = 0
  let to = path.length
  while (from < to && path[from] === '/') from++
  while (to > from && path[to - 1] === '/') to--
  return path.slice(from, to)
}

// A segment that is no valid percent-encoding names nothing else than itself.
export function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
