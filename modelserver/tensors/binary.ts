/** Raw tensor bytes: little-endian, row-major, BYTES with 4-byte lengths. Owns both directions; refuses JSON headers. */

import { arrayOf, byteSize } from './datatypes.ts'
import type { Fail } from './elements.ts'
import { countOf, printShape } from './shape.ts'
import type { Datatype, TensorData } from './tensor.ts'

/** A view of a few bytes takes about 100 bytes of heap, so tiny elements could otherwise fill it from a small body. */
export const maxByteElements = 1 << 20

const bigEndianHost = new Uint8Array(new Uint16Array([1]).buffer)[0] === 0

/** Reads the elements of one tensor from exactly its bytes, which are copied (BYTES elements are views of them). */
export function readBytes(
  datatype: Datatype,
  shape: readonly number[],
  bytes: Uint8Array,
  fail: Fail,
): TensorData {
  const count = countOf(shape)
  if (datatype === 'BYTES') return readByteStrings(count, shape, bytes, fail)
  const needed = count * byteSize[datatype]
  if (bytes.length !== needed) {
    throw fail(`shape ${printShape(shape)} needs ${needed} bytes of ${datatype}, got ${bytes.length}`)
  }
  if (datatype === 'BOOL') return readBooleans(bytes, fail)
  const copy = swapped(datatype, new Uint8Array(bytes))
  return datatype === 'BF16' ? widenBf16(new Uint16Array(copy.buffer)) : new arrayOf[datatype](copy.buffer)
}

function readBooleans(bytes: Uint8Array, fail: Fail): boolean[] {
  return Array.from(bytes, (byte, i) => {
    if (byte > 1) throw fail(`data[${i}] does not fit BOOL`)
    return byte === 1
  })
}

function readByteStrings(
  count: number,
  shape: readonly number[],
  bytes: Uint8Array,
  fail: Fail,
): Uint8Array[] {
  const needs = `shape ${printShape(shape)} needs ${count} elements`
  if (count * 4 > bytes.length) throw fail(`${needs}, ${bytes.length} bytes cannot hold them`)
  if (count > maxByteElements) throw fail(`a binary BYTES tensor holds at most ${maxByteElements} elements`)
  const copy = new Uint8Array(bytes)
  const view = new DataView(copy.buffer)
  const elements: Uint8Array[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 4 > copy.length) throw fail(`${needs}, the bytes end after ${i}`)
    const end = at + 4 + view.getUint32(at, true)
    if (end > copy.length) throw fail(`data[${i}] ends behind the bytes of its tensor`)
    elements.push(copy.subarray(at + 4, end))
    at = end
  }
  if (at !== copy.length) throw fail(`${needs}, ${copy.length - at} bytes are left over`)
  return elements
}

/** The raw bytes of checked elements. */
export function writeBytes(datatype: Datatype, data: TensorData): Uint8Array {
  if (datatype === 'BYTES') return writeByteStrings(data as string[] | Uint8Array[])
  if (datatype === 'BOOL') return Uint8Array.from(data as boolean[], Number)
  const array = datatype === 'BF16' ? narrowBf16(data as Float32Array) : (data as Float32Array)
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
  return bigEndianHost ? swapped(datatype, new Uint8Array(bytes)) : bytes
}

function writeByteStrings(data: readonly (string | Uint8Array)[]): Uint8Array {
  const encoder = new TextEncoder()
  const parts = data.map((element) => (typeof element === 'string' ? encoder.encode(element) : element))
  const bytes = new Uint8Array(parts.reduce((size, part) => size + 4 + part.length, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const part of parts) {
    view.setUint32(at, part.length, true)
    bytes.set(part, at + 4)
    at += 4 + part.length
  }
  return bytes
}

/** The same bytes on little-endian hosts, reversed element by element on others. */
function swapped(datatype: Datatype, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (!bigEndianHost) return bytes
  const buffer = Buffer.from(bytes.buffer)
  const width = byteSize[datatype]
  if (width === 2) buffer.swap16()
  if (width === 4) buffer.swap32()
  if (width === 8) buffer.swap64()
  return bytes
}

// BF16 is the upper half of an FP32.
function widenBf16(halves: Uint16Array): Float32Array {
  const words = Uint32Array.from(halves, (half) => half << 16)
  return new Float32Array(words.buffer)
}

function narrowBf16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  return Uint16Array.from(words, (word, i) => {
    if (Number.isNaN(values[i])) return (word >>> 16) | 0x40
    // To nearest, ties to even.
    return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  })
}
