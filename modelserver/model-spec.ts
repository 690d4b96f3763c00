/** Finds a model file under a path and reads the spec file beside it. Refuses anything but local files. */

import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { ValueError } from './errors.ts'
import { isPlainObject } from './event.ts'

/** One input or output column (`value_type`) or tensor (`datatype`, `shape` with -1 for a variable dimension). */
export interface Feature {
  name: string
  value_type?: string
  datatype?: string
  shape?: number[]
  [member: string]: unknown
}

export interface ModelSpec {
  inputs?: Feature[]
  outputs?: Feature[]
  parameters?: Record<string, unknown>
  labels?: Record<string, unknown>
  tag?: string
  [member: string]: unknown
}

export interface FoundModel {
  modelFile: string
  extraData: Record<string, unknown>
  spec: ModelSpec | undefined
}

const specFiles = ['model_spec.yaml', 'model_spec.yml', 'model_spec.json']

/** `modelPath` is a spec file, a file that ends in `suffix`, or a directory: its spec file, else its first such file. */
export async function readModel(modelPath: string, suffix: string): Promise<FoundModel> {
  const path = modelPath.startsWith('file:') ? fileURLToPath(modelPath) : modelPath
  if (specFiles.includes(basename(path))) return fromSpec(path)
  const kind = path === '' ? undefined : await stat(path).catch(() => undefined)
  if (kind?.isFile() && path.endsWith(suffix)) return { modelFile: path, extraData: {}, spec: undefined }
  if (kind?.isDirectory()) {
    const names = (await readdir(path)).sort()
    const spec = names.find((name) => specFiles.includes(name))
    if (spec !== undefined) return fromSpec(join(path, spec))
    const file = suffix === '' ? undefined : names.find((name) => name.endsWith(suffix))
    if (file !== undefined) return { modelFile: join(path, file), extraData: {}, spec: undefined }
  }
  throw new ValueError(`no model file with suffix ${suffix || "''"} found in model path ${modelPath || "''"}`)
}

async function fromSpec(path: string): Promise<FoundModel> {
  const document: unknown = parse(await readFile(path, 'utf8'))
  if (!isPlainObject(document)) throw new ValueError(`model spec ${path} holds no object`)
  const { inputs, outputs, parameters, labels, tag, model_file: file, extra_data: extra, ...rest } = document
  const spec: ModelSpec = {
    ...rest,
    inputs: features(inputs, 'inputs'),
    outputs: features(outputs, 'outputs'),
    parameters: isPlainObject(parameters) ? parameters : {},
    labels: isPlainObject(labels) ? labels : {},
  }
  if (typeof tag === 'string') spec.tag = tag
  const modelFile = typeof file === 'string' ? join(dirname(path), file) : ''
  return { modelFile, extraData: isPlainObject(extra) ? extra : {}, spec }
}

function features(value: unknown, member: string): Feature[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw new ValueError(`model spec: ${member} is not a list`)
  return value.map((item: unknown) => {
    if (!isPlainObject(item) || typeof item.name !== 'string')
      throw new ValueError(`model spec: ${member} need names`)
    return { ...item, name: item.name }
  })
}
