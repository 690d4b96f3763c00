/** Writes iris.onnx from the classifier trained in ../iris: `node examples/onnx/export.ts`. Deterministic. */

import { readFile, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import type { SoftmaxModel } from '../iris/softmax.ts'
import { encodeOnnx } from './graph.ts'

/** Standardise, one linear layer, softmax; `label` is the index of the most probable class. */
export async function exportIris(): Promise<Uint8Array> {
  const source = new URL('../iris/model.json', import.meta.url)
  const { features, labels, mean, deviation, weights, bias }: SoftmaxModel = JSON.parse(
    await readFile(source, 'utf8'),
  )
  return encodeOnnx({
    name: 'iris',
    inputs: [{ name: 'measurements', type: 'float', shape: ['rows', features.length] }],
    outputs: [
      { name: 'label', type: 'int64', shape: ['rows'] },
      { name: 'probabilities', type: 'float', shape: ['rows', labels.length] },
    ],
    constants: [
      { name: 'mean', shape: [features.length], data: mean },
      { name: 'deviation', shape: [features.length], data: deviation },
      { name: 'weights', shape: [labels.length, features.length], data: weights.flat() },
      { name: 'bias', shape: [labels.length], data: bias },
    ],
    nodes: [
      { op: 'Sub', inputs: ['measurements', 'mean'], output: 'centred' },
      { op: 'Div', inputs: ['centred', 'deviation'], output: 'standardised' },
      {
        op: 'Gemm',
        inputs: ['standardised', 'weights', 'bias'],
        output: 'scores',
        attributes: { transB: 1 },
      },
      { op: 'Softmax', inputs: ['scores'], output: 'probabilities', attributes: { axis: 1 } },
      { op: 'ArgMax', inputs: ['scores'], output: 'label', attributes: { axis: 1, keepdims: 0 } },
    ],
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const bytes = await exportIris()
  await writeFile(new URL('iris.onnx', import.meta.url), bytes)
  process.stdout.write(`iris.onnx written, ${bytes.byteLength} bytes\n`)
}
