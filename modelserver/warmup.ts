/** Runs one warm-up request through a model's hooks, untracked and uncounted (specification, 7.3). */

import { RequestContext } from './context.ts'
import { ModelEvent, newEventId } from './event.ts'
import type { V2ModelServer } from './model.ts'
import { tensorSpecs } from './oip.ts'
import { decodeInferValue, readOutputs } from './tensors/index.ts'

/** Rejects with whatever a hook throws: that is a load failure. */
export async function warm(model: V2ModelServer<object>, body: object): Promise<void> {
  const event = new ModelEvent({
    id: newEventId(),
    path: '',
    method: 'POST',
    headers: {},
    contentType: 'application/json',
    body,
    trigger: { kind: 'warmup', name: 'warmup' },
  })
  const ctx = new RequestContext(event, event.id, 'infer', model.protocol)
  const oip = model.protocol === 'oip'
  const sent = oip ? decodeInferValue(body) : structuredClone(body)
  const request = await model.validate(await model.preprocess(sent, ctx.op, ctx), ctx.op, ctx)
  const result = await model.predict(request, ctx)
  const outputs = oip
    ? readOutputs(result, decodeInferValue(request), tensorSpecs(model.modelSpec?.outputs))
    : result
  await model.postprocess({ id: event.id, model_name: model.name, outputs }, ctx)
}
