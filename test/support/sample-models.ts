/** The models of the specification's conformance cases (section 8), word for word. */

import {
  InferenceError,
  type InferRequest,
  type ModelEvent,
  type ModelRequest,
  type RequestInfo,
  type ReturnedTensor,
  V2ModelServer,
  ValueError,
} from '../../modelserver/index.ts'

/** predict = first input x param `multiplier`, and the custom operations. */
export class Times extends V2ModelServer {
  override load(): void {}
  override predict({ inputs = [] }: ModelRequest): unknown {
    return Number(inputs[0]) * this.getParam('multiplier', 1)
  }
  override explain({ inputs = [] }: ModelRequest): unknown {
    return { explained: inputs[0] }
  }
  op_myop({ body }: ModelEvent): unknown {
    return body
  }
  op_text(): string {
    return 'plain text'
  }
  op_num(): number {
    return 7
  }
  op_resp(): Response {
    return new Response('teapot', { status: 418, headers: { 'content-type': 'text/x-tea' } })
  }
  op_raise(): never {
    throw new ValueError('missing-thing')
  }
}

/** Each input x `multiplier`. */
export class Lists extends V2ModelServer {
  override load(): void {}
  override predict({ inputs = [] }: ModelRequest): unknown {
    return inputs.map((input) => Number(input) * this.getParam('multiplier', 1))
  }
}

export class NoImpl extends V2ModelServer {
  override load(): void {}
}

export class Raiser extends V2ModelServer {
  override load(): void {}
  override predict(): unknown {
    throw new ValueError('simulated error..')
  }
}

export class Hooks extends V2ModelServer {
  override load(): void {}
  override preprocess(request: ModelRequest, op: string): ModelRequest {
    request.pre_op = op
    request.inputs = request.inputs?.map((input) => Number(input) + 1) ?? []
    return request
  }
  override async validate(request: ModelRequest, op: string, ctx: RequestInfo): Promise<ModelRequest> {
    await super.validate(request, op, ctx)
    if ((request.inputs?.length ?? 0) > 3) throw new ValueError('too many inputs')
    request.validated = op
    return request
  }
  override predict(request: ModelRequest): unknown {
    return { got: request }
  }
  override postprocess(envelope: object): object {
    return { ...envelope, post: true }
  }
}

export class Spec extends V2ModelServer {
  override load(): void {
    this.modelSpec = {
      inputs: [
        { name: 'a', value_type: 'float' },
        { name: 'b', value_type: 'float' },
      ],
      outputs: [{ name: 'label', value_type: 'int' }],
    }
  }
  override predict({ inputs }: ModelRequest): unknown {
    return { saw: inputs, p: this.getParam('from_fn', 'dflt') }
  }
}

export class Metric extends V2ModelServer {
  override labels = { team: 'x' }
  override load(): void {}
  override predict({ inputs = [] }: ModelRequest): unknown {
    const first = Number(inputs[0])
    if (first < 0) throw new ValueError('negative')
    this.setMetric('last', first)
    return [first * 2]
  }
  op_myop(): string {
    return 'ok'
  }
}

/** load takes 2 s; predict = first input. */
export class Slow extends V2ModelServer {
  override async load(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.getParam('loadMs', 2000)))
  }
  override predict({ inputs = [] }: ModelRequest): unknown {
    return inputs[0]
  }
}

/** `oip`: row sums x 2; request parameter `boom` throws. */
export class Dbl extends V2ModelServer<InferRequest> {
  override load(): void {
    this.modelSpec = {
      inputs: [{ name: 'input0', datatype: 'FP32', shape: [-1, 2] }],
      outputs: [{ name: 'output0', datatype: 'FP32', shape: [-1] }],
    }
  }
  override predict({ inputs, parameters }: InferRequest): ReturnedTensor[] {
    if (parameters?.boom === true) throw new InferenceError('model exploded')
    const [tensor] = inputs
    const [rows = 0, columns = 0] = tensor?.shape ?? []
    const values = Array.from(tensor?.data ?? [], Number)
    const data = Array.from({ length: rows }, (_, row) =>
      values.slice(row * columns, (row + 1) * columns).reduce((sum, value) => sum + 2 * value, 0),
    )
    return [{ name: 'output0', shape: [rows], datatype: 'FP32', data }]
  }
}

/** Protocol `v1`: `{"predictions": [2 x row sum]}`. */
export class RowSums extends V2ModelServer {
  override load(): void {}
  override predict({ instances }: ModelRequest): unknown {
    const rows = Array.isArray(instances) ? instances : []
    return { predictions: rows.map((row: number[]) => 2 * row.reduce((sum, value) => sum + value, 0)) }
  }
  override explain({ instances }: ModelRequest): unknown {
    const rows = Array.isArray(instances) ? instances : []
    return { explanations: rows.map(() => ({ weights: [0.5, 0.5] })) }
  }
}

/** Never becomes ready. */
export class Cold extends V2ModelServer<InferRequest> {
  override load(): Promise<void> {
    return new Promise(() => {})
  }
}

/** A model whose hooks are given as functions, for cases that need one small behaviour. */
export function modelOf(hooks: {
  load?: () => void | Promise<void>
  predict?: (request: ModelRequest, ctx: RequestInfo) => unknown
  warmup?: () => void | Promise<void>
  unload?: () => void | Promise<void>
  generate?: (request: Record<string, unknown>, ctx: RequestInfo) => AsyncIterable<string | object>
}): typeof V2ModelServer {
  class Given extends V2ModelServer {
    override load() {
      return hooks.load?.()
    }
    override predict(request: ModelRequest, ctx: RequestInfo) {
      return hooks.predict === undefined ? super.predict(request, ctx) : hooks.predict(request, ctx)
    }
  }
  if (hooks.warmup) Object.assign(Given.prototype, { warmup: hooks.warmup })
  if (hooks.unload) Object.assign(Given.prototype, { unload: hooks.unload })
  if (hooks.generate) Object.assign(Given.prototype, { generate: hooks.generate })
  return Given as typeof V2ModelServer // the hooks are for ModelRequest, which is V2ModelServer's default
}
