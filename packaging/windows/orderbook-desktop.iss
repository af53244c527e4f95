; Inno Setup: the Windows installer. packaging/bundle.py calls
;   ISCC /DVersion=1.2.3 /DSource=dist\orderbook-desktop /DIcon=build\bundle\icon.ico /O<dist> <this file>

#define Name "Orderbook Desktop"
#define Program "orderbook-desktop.exe"

[Setup]
; This never changes: a new version finds the version to replace by it.
AppId={{6B0C2F34-8E0B-4B5B-9A51-7D0E5C2C7A41}
AppName={#Name}
AppVersion={#Version}
AppVerName={#Name} {#Version}
AppPublisher=The Orderbook Desktop founders
; By default it installs for one user, without an administrator; a user may choose all users.
PrivilegesRequired=lowest
PrivilegesRequiredOverridesAllowed=dialog
DefaultDirName={autopf}\{#Name}
DefaultGroupName={#Name}
DisableProgramGroupPage=yes
LicenseFile={#Source}\LICENSES\{#Name}.txt
OutputBaseFilename=orderbook-desktop-{#Version}-windows-x86_64
SetupIconFile={#Icon}
UninstallDisplayIcon={app}\{#Program}
ArchitecturesAllowed=x64compatible
ArchitecturesInstallIn64BitMode=x64compatible
MinVersion=10.0.17763
Compression=lzma2/max
SolidCompression=yes
WizardStyle=modern
; The files of a running copy could not be replaced.
CloseApplications=yes
RestartApplications=no
ChangesAssociations=yes

[Files]
Source: "{#Source}\*"; DestDir: "{app}"; Flags: ignoreversion recursesubdirs createallsubdirs

[InstallDelete]
; Files of an older version that this version lacks must be removed, since it could load them.
Type: filesandordirs; Name: "{app}\_internal"

[Icons]
Name: "{group}\{#Name}"; Filename: "{app}\{#Program}"
Name: "{group}\{#Name} (made-up market)"; Filename: "{app}\{#Program}"; Parameters: "--demo"
Name: "{autodesktop}\{#Name}"; Filename: "{app}\{#Program}"; Tasks: desktopicon

[Registry]
; A double-click on a packed recording opens it in the window.
Root: HKA; Subkey: "Software\Classes\.obd\OpenWithProgids"; ValueType: string; ValueName: "OrderbookDesktop.Recording"; ValueData: ""; Flags: uninsdeletevalue
Root: HKA; Subkey: "Software\Classes\OrderbookDesktop.Recording"; ValueType: string; ValueName: ""; ValueData: "Order book recording"; Flags: uninsdeletekey
Root: HKA; Subkey: "Software\Classes\OrderbookDesktop.Recording\DefaultIcon"; ValueType: string; ValueName: ""; ValueData: "{app}\{#Program},0"
Root: HKA; Subkey: "Software\Classes\OrderbookDesktop.Recording\shell\open\command"; ValueType: string; ValueName: ""; ValueData: """{app}\{#Program}"" ""%1"""

[Tasks]
Name: "desktopicon"; Description: "{cm:CreateDesktopIcon}"; GroupDescription: "{cm:AdditionalIcons}"; Flags: unchecked

[Run]
Filename: "{app}\{#Program}"; Description: "{cm:LaunchProgram,{#Name}}"; Flags: nowait postinstall skipifsilent

; Settings and recordings are in the user's data folder, and stay when the program is uninstalled.
