/** How requests of a protocol are joined into one and how the one result is cut back. Decides nothing about when. */

import { RuntimeError } from '../errors.ts'
import { cutRows, type InferRequest, joinRows, readOutputs, type Tensor } from '../tensors/index.ts'

/** Knows the rows of one protocol's requests. */
export interface BatchAdapter<Request = unknown> {
  /** Requests with equal keys may share a batch. undefined: this request has no rows and runs alone, unchecked. */
  key(request: Request): string | undefined
  /** Only asked for requests with a key. */
  rows(request: Request): number
  /** One request with the rows of all, in order; everything else, `id` too, is the first one's. At least two requests. */
  join(requests: readonly Request[]): Request
  /** One result per count, in order. Throws `RuntimeError` `batch of 8 items got 7 outputs`. */
  split(result: unknown, counts: readonly number[]): unknown[]
}

type ListRequest = { inputs: unknown[] }

function isListRequest(request: unknown): request is ListRequest {
  return (
    typeof request === 'object' && request !== null && 'inputs' in request && Array.isArray(request.inputs)
  )
}

/** Protocol `v2` and V1: rows are the elements of `inputs`; results are a list, or an object of lists. */
export const listBatches: BatchAdapter = {
  key: (request) => (isListRequest(request) ? remainderKey(request) : undefined),
  rows: (request) => asListRequest(request).inputs.length,
  join(requests) {
    const first = asListRequest(requests[0])
    const inputs = requests.flatMap((request) => asListRequest(request).inputs)
    if (!hasInstances(first)) return { ...first, inputs }
    const same = first.instances === first.inputs
    const instances = same ? inputs : requests.flatMap((request) => Reflect.get(Object(request), 'instances'))
    return { ...first, inputs, instances }
  },
  split(result, counts) {
    const total = sum(counts)
    if (isList(result)) return cutList(result, counts, total)
    const columns = typeof result === 'object' && result !== null ? Object.entries(result) : []
    if (columns.length === 0 || !columns.every(([, column]) => isList(column))) throw wrongCount(total, 1)
    const pieces: Array<Record<string, unknown>> = counts.map(() => ({}))
    for (const [name, column] of columns) {
      const cut = cutList(column, counts, total)
      for (const [index, piece] of pieces.entries()) piece[name] = cut[index]
    }
    return pieces
  },
}

function isTensorRequest(request: unknown): request is InferRequest {
  return (
    isListRequest(request) &&
    request.inputs.length > 0 &&
    request.inputs.every((tensor) => typeof tensor === 'object' && tensor !== null && 'shape' in tensor)
  )
}

/** Protocol `oip`: rows are `shape[0]`, the same in every input; outputs are tensors with as many rows. */
export const tensorBatches: BatchAdapter = {
  key(request) {
    if (!isTensorRequest(request)) return
    const rows = request.inputs[0]?.shape[0]
    if (rows === undefined || request.inputs.some((tensor) => tensor.shape[0] !== rows)) return
    const { id: _, inputs, ...rest } = request
    const tensors = inputs.map(({ name, datatype, shape, parameters }) => [
      name,
      datatype,
      shape.slice(1),
      parameters,
    ])
    return stableText({ tensors, ...rest })
  },
  rows: (request) => asTensorRequest(request).inputs[0]?.shape[0] ?? 0,
  join(requests) {
    const first = asTensorRequest(requests[0])
    const inputs = first.inputs.map((_, position) =>
      joinRows(requests.flatMap((request) => asTensorRequest(request).inputs[position] ?? [])),
    )
    return { ...first, inputs }
  },
  split(result, counts) {
    const total = sum(counts)
    const { outputs, parameters } = readOutputs(result, { inputs: [] })
    const pieces: Array<{ outputs: Tensor[]; parameters?: typeof parameters }> = counts.map(() => ({
      outputs: [],
    }))
    for (const tensor of outputs) {
      const cut = cutRows(tensor, counts)
      if (!cut) throw wrongCount(total, tensor.shape[0] ?? 1)
      for (const [index, piece] of pieces.entries()) piece.outputs.push(...cut.slice(index, index + 1))
    }
    return parameters === undefined ? pieces : pieces.map((piece) => ({ ...piece, parameters }))
  },
}

function asListRequest(request: unknown): ListRequest {
  if (!isListRequest(request)) throw new TypeError('a request without a list of inputs has no rows')
  return request
}

function asTensorRequest(request: unknown): InferRequest {
  if (!isTensorRequest(request)) throw new TypeError('a request without tensors has no rows')
  return request
}

/** A V1 request: its `instances` are handed over as `inputs` too, and both are rows. */
function hasInstances(request: ListRequest): request is ListRequest & { instances: unknown[] } {
  const { instances } = request as ListRequest & { instances?: unknown }
  return Array.isArray(instances) && instances.length === request.inputs.length
}

/** Key of everything but `id` and the rows; undefined if it cannot be compared as text. */
function remainderKey(request: ListRequest): string | undefined {
  const { id: _, inputs: __, ...rest } = request as ListRequest & { id?: unknown; instances?: unknown }
  if (hasInstances(request)) rest.instances = 'rows'
  for (const _name in rest) return stableText(rest)
  return ''
}

// Property order does not make two requests different; what JSON cannot hold (a cycle, a bigint) does.
function stableText(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) && !JSON.isRawJSON(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    )
  } catch {
    return
  }
}

type List = { readonly length: number; slice(from: number, to: number): unknown }

function isList(value: unknown): value is List {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))
}

function cutList(list: List, counts: readonly number[], total: number): unknown[] {
  if (list.length !== total) throw wrongCount(total, list.length)
  let from = 0
  return counts.map((count) => {
    const piece = list.slice(from, from + count)
    from += count
    return piece
  })
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}

function wrongCount(expected: number, got: number): RuntimeError {
  return new RuntimeError(`batch of ${expected} items got ${got} outputs`)
}
