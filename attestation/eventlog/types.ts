// Event types of the TCG PC Client Platform Firmware Profile (§10.4.1), by number and name, and for
// which of them the event's data is what was hashed.

/** Names by number. */
export const EVENT_TYPES: ReadonlyMap<number, string> = new Map([
  [0x00, "EV_PREBOOT_CERT"],
  [0x01, "EV_POST_CODE"],
  [0x03, "EV_NO_ACTION"],
  [0x04, "EV_SEPARATOR"],
  [0x05, "EV_ACTION"],
  [0x06, "EV_EVENT_TAG"],
  [0x07, "EV_S_CRTM_CONTENTS"],
  [0x08, "EV_S_CRTM_VERSION"],
  [0x09, "EV_CPU_MICROCODE"],
  [0x0a, "EV_PLATFORM_CONFIG_FLAGS"],
  [0x0b, "EV_TABLE_OF_DEVICES"],
  [0x0c, "EV_COMPACT_HASH"],
  [0x0d, "EV_IPL"],
  [0x0e, "EV_IPL_PARTITION_DATA"],
  [0x0f, "EV_NONHOST_CODE"],
  [0x10, "EV_NONHOST_CONFIG"],
  [0x11, "EV_NONHOST_INFO"],
  [0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"],
  [0x13, "EV_POST_CODE2"],
  [0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG"],
  [0x80000002, "EV_EFI_VARIABLE_BOOT"],
  [0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION"],
  [0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER"],
  [0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER"],
  [0x80000006, "EV_EFI_GPT_EVENT"],
  [0x80000007, "EV_EFI_ACTION"],
  [0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"],
  [0x80000009, "EV_EFI_HANDOFF_TABLES"],
  [0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"],
  [0x8000000b, "EV_EFI_HANDOFF_TABLES2"],
  [0x8000000c, "EV_EFI_VARIABLE_BOOT2"],
  [0x8000000d, "EV_EFI_GPT_EVENT2"],
  [0x80000010, "EV_EFI_HCRTM_EVENT"],
  [0x800000e0, "EV_EFI_VARIABLE_AUTHORITY"],
  [0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB"],
  [0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"],
]);

/** The types this folder names in code. */
export const EventType = {
  NO_ACTION: 0x03,
  SEPARATOR: 0x04,
  ACTION: 0x05,
  EVENT_TAG: 0x06,
  S_CRTM_VERSION: 0x08,
  IPL: 0x0d,
  OMIT_BOOT_DEVICE_EVENTS: 0x12,
  VARIABLE_DRIVER_CONFIG: 0x80000001,
  VARIABLE_BOOT: 0x80000002,
  BOOT_SERVICES_APPLICATION: 0x80000003,
  GPT_EVENT: 0x80000006,
  EFI_ACTION: 0x80000007,
  VARIABLE_BOOT2: 0x8000000c,
  VARIABLE_AUTHORITY: 0x800000e0,
} as const;

/** Types whose digest is of the event's data, so that data which hashes to another digest is a lie. */
export const DATA_IS_PREIMAGE: ReadonlySet<number> = new Set([
  EventType.SEPARATOR,
  EventType.ACTION,
  EventType.S_CRTM_VERSION,
  EventType.OMIT_BOOT_DEVICE_EVENTS,
  EventType.VARIABLE_DRIVER_CONFIG,
  EventType.VARIABLE_BOOT,
  EventType.VARIABLE_BOOT2,
  EventType.VARIABLE_AUTHORITY,
  EventType.GPT_EVENT,
  EventType.EFI_ACTION,
]);

/** Name of a type; unknown ones by number. */
export function eventTypeName(type: number): string {
  return EVENT_TYPES.get(type) ?? `0x${type.toString(16).padStart(8, "0")}`;
}
