/** `infer_dict` and `predict_dict`: inputs as objects become rows in the order of the model's spec (4.1). */

import { MLRunInvalidArgumentError } from './errors.ts'
import { isPlainObject } from './event.ts'
import type { Feature } from './model-spec.ts'

/** A list of objects becomes a list of rows, one object one row; keys the spec does not name are dropped. */
export function rowsFromDicts(inputs: unknown, features: readonly Feature[] | undefined): unknown[] {
  const names = features?.map(({ name }) => name) ?? []
  if (names.length === 0) {
    throw new MLRunInvalidArgumentError(
      'In order to use predict_dict or infer_dict operation you have to provide `model_path` to the model server and to load it by `load()` function',
    )
  }
  if (isPlainObject(inputs)) return row(inputs, names)
  if (Array.isArray(inputs) && inputs.every(isPlainObject)) return inputs.map((dict) => row(dict, names))
  throw new MLRunInvalidArgumentError(
    'When using predict_dict or infer_dict operation the inputs must be of type `list[dict]` or `dict` ',
  )
}

function row(dict: Record<string, unknown>, names: readonly string[]): unknown[] {
  return names.map((name) => {
    if (Object.hasOwn(dict, name)) return dict[name]
    const needed = names.map((each) => `'${each}'`).join(', ')
    throw new MLRunInvalidArgumentError(
      `Input dictionary don't contain all the necessary input keys : [${needed}]`,
    )
  })
}
