/**
 * gRPC `tensorflow.serving.ModelService/GetModelStatus`, as far as readiness needs it. Owns the message shapes.
 * Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/get_model_status.proto
 */
import { Client, credentials, type ServiceError as GrpcError } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import { memberOf, pollTimeoutMs } from './probe-http.ts'

export interface VersionStatus {
  version: string
  /** `UNKNOWN`, `START`, `LOADING`, `AVAILABLE`, `UNLOADING`, `END`. */
  state: string
  errorMessage: string
}

const messages = protobuf.parse(`
  syntax = "proto3";
  message Int64Value { int64 value = 1; }
  message ModelSpec { string name = 1; Int64Value version = 2; }
  message GetModelStatusRequest { ModelSpec model_spec = 1; }
  message StatusProto { int32 error_code = 1; string error_message = 2; }
  message ModelVersionStatus {
    int64 version = 1;
    enum State { UNKNOWN = 0; START = 10; LOADING = 20; AVAILABLE = 30; UNLOADING = 40; END = 50; }
    State state = 2;
    StatusProto status = 3;
  }
  message GetModelStatusResponse { repeated ModelVersionStatus model_version_status = 1; }
`).root
export const statusRequestType = messages.lookupType('GetModelStatusRequest')
export const statusResponseType = messages.lookupType('GetModelStatusResponse')
export const statusMethod = '/tensorflow.serving.ModelService/GetModelStatus'

/** The versions of a model, or the text of the RPC error: every RPC error means "not yet". */
export async function statusByGrpc(
  address: string,
  model: string,
  version: string | undefined,
  signal?: AbortSignal,
): Promise<VersionStatus[] | string> {
  signal?.throwIfAborted()
  const client = new Client(address, credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 })
  const spec = { name: model, ...(version !== undefined && { version: { value: version } }) }
  try {
    return await new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        statusMethod,
        (request: object) =>
          Buffer.from(statusRequestType.encode(statusRequestType.fromObject(request)).finish()),
        readResponse,
        { modelSpec: spec },
        { deadline: new Date(Date.now() + pollTimeoutMs) },
        (error: GrpcError | null, versions?: VersionStatus[]) =>
          resolve(error === null ? (versions ?? []) : error.message),
      )
      signal?.addEventListener('abort', () => {
        call.cancel()
        reject(signal.reason)
      })
    })
  } finally {
    client.close()
  }
}

function readResponse(bytes: Buffer): VersionStatus[] {
  const message = statusResponseType.toObject(statusResponseType.decode(bytes), {
    longs: String,
    enums: String,
    defaults: true,
  })
  const listed: unknown = message.modelVersionStatus
  return (Array.isArray(listed) ? listed : []).map((entry: unknown) => ({
    version: String(memberOf(entry, 'version')),
    state: String(memberOf(entry, 'state')),
    errorMessage: String(memberOf(memberOf(entry, 'status'), 'errorMessage') ?? ''),
  }))
}
