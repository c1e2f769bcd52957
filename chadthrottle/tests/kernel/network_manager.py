"""A bus with a NetworkManager of python-dbusmock on it, whose socket is DIRECTORY/bus.

Says "ready", and then "done" for each line of its input:

    metered N           its property Metered is N
    ssid HEXADECIMAL    the wireless network that it is on has that name
    state N             that connection has this state
    crowd N             it has N more wireless connections, and the one that it is on comes last
    strange             that one has another device before its own, of which nothing is known
    leaves, comes       it ends, and is there again as at the beginning
    halts, goes on      the bus stands still, and goes on

All of it goes when this program ends.
"""

import ctypes, os, signal, subprocess, sys

directory = sys.argv[1]
address = f"unix:path={directory}/bus"
os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = address

import dbus
from dbusmock import DBusTestCase, MOCK_IFACE

NAME = "org.freedesktop.NetworkManager"
PATH = "/org/freedesktop/NetworkManager"
ACTIVATED, WPA_PSK, INFRASTRUCTURE = 2, 0x100, 2


def dies_with_us():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class NetworkManager:
    def __init__(self):
        self.process, _ = DBusTestCase.spawn_server_template(
            "networkmanager", {}, stdout=subprocess.DEVNULL
        )
        mock = dbus.Interface(self.object(PATH), MOCK_IFACE)
        mock.AddProperty(NAME, "Metered", dbus.UInt32(4))
        device = mock.AddWiFiDevice("wireless", "wlan0", 100)
        self.point = mock.AddAccessPoint(
            device, "point", "Home", "00:23:f8:7e:12:bb", INFRASTRUCTURE, 2425, 5400, 82, WPA_PSK
        )
        connection = mock.AddWiFiConnection(device, "settings", "Home", "wpa-psk")
        self.active = mock.AddActiveConnection([device], connection, self.point, "active", ACTIVATED)
        self.device = device
        wireless = dbus.Interface(self.object(device), MOCK_IFACE)
        point = dbus.ObjectPath(self.point)
        wireless.AddProperty(f"{NAME}.Device.Wireless", "ActiveAccessPoint", point)

        self.primary = dbus.ObjectPath(self.active)
        mock.AddProperty(NAME, "PrimaryConnection", self.primary)

    def crowd(self, count):
        """Others that are still being made."""
        mock = dbus.Interface(self.object(PATH), MOCK_IFACE)
        settings = mock.AddWiFiConnection(self.device, "other", "Home", "wpa-psk")
        other = mock.AddActiveConnection(
            dbus.Array([], signature="o"), settings, self.point, "other", 1
        )
        paths = dbus.Array([dbus.ObjectPath(other)] * count + [self.primary], signature="o")
        self.set(PATH, NAME, "ActiveConnections", paths)

    def strange(self):
        devices = [dbus.ObjectPath("/nonesuch"), dbus.ObjectPath(self.device)]
        self.set(self.active, f"{NAME}.Connection.Active", "Devices", dbus.Array(devices, signature="o"))

    def object(self, path):
        return DBusTestCase.get_dbus(True).get_object(NAME, path)

    def set(self, path, interface, name, value):
        self.object(path).Set(interface, name, value, dbus_interface=dbus.PROPERTIES_IFACE)

    def leave(self):
        self.process.kill()
        self.process.wait()


bus = subprocess.Popen(
    ["dbus-daemon", "--session", "--nofork", f"--address={address}", "--print-address"],
    stdout=subprocess.PIPE,
    preexec_fn=dies_with_us,
)
bus.stdout.readline()
manager = NetworkManager()
print("ready", flush=True)
for line in sys.stdin:
    word, _, value = line.strip().partition(" ")
    if word == "metered":
        manager.set(PATH, NAME, "Metered", dbus.UInt32(int(value)))
    elif word == "ssid":
        name = dbus.ByteArray(bytes.fromhex(value))
        manager.set(manager.point, f"{NAME}.AccessPoint", "Ssid", name)
    elif word == "state":
        manager.set(manager.active, f"{NAME}.Connection.Active", "State", dbus.UInt32(int(value)))
    elif word == "crowd":
        manager.crowd(int(value))
    elif word == "strange":
        manager.strange()
    elif word == "leaves":
        manager.leave()
    elif word == "comes":
        manager = NetworkManager()
    elif word == "halts":
        bus.send_signal(signal.SIGSTOP)
    elif word == "goes":
        bus.send_signal(signal.SIGCONT)
    else:
        sys.exit(f"what is {line}?")
    print("done", flush=True)
manager.leave()
bus.send_signal(signal.SIGCONT)
bus.kill()
